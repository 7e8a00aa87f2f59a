"""Step 1 of the original once more, at full size, with the one thing changed that explains it.

    python -m gpt2lite.course.untied LOG

writes the log that notebook 03 shows beside step 1's. All settings are those of that log's header.
"""

import sys
from dataclasses import asdict

import torch
from torch import nn

from gpt2lite import GPT, GPTConfig, cpu
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.course.records import recorded
from gpt2lite.data import Batches, encode
from gpt2lite.log import Log, header, read_log
from gpt2lite.model import init_default
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer, progress


class UntiedGPT(GPT):
    """GPT-2 with a head of its own, under PyTorch's defaults."""

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        init_default(self, wte="embedding")

    def head(self, x):
        return self.lm_head(x)


def main(log):
    """Train for 1,000 steps and write the log: 20 minutes on two cores."""
    cpu.keep_process_memory()
    step1, _ = read_log(recorded("step1"))
    config, text = TrainConfig(**step1["training"]), step1["data"]
    torch.manual_seed(config.seed)
    model = UntiedGPT(GPTConfig(**step1["model"]))
    batches = Batches(encode(load_text(text)), config.batch_size, config.seq_len)
    fp32 = Precision(torch.device("cpu"), torch.float32, False, "as step 1")
    run = Trainer(model, batches, config, fp32)
    command = f"python -m gpt2lite.course.untied {log}"
    parts = fp32.dtype, asdict(model.config), asdict(config)
    lines = Log(log, header(command, text, fp32.device, *parts))
    for record in progress(run):
        lines.write(record)


if __name__ == "__main__":
    main(sys.argv[1])
