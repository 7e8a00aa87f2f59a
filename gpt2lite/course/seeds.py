"""One recipe from many seeds: how far the loss and the pairs differ when nothing else does.

    python -m gpt2lite.course.seeds LOG

trains the course's small model for 60 steps more, 4 x 64 tokens each, once for each seed, which
draws where in the plays the batches come from. The rate is high for batches so small: the model
gets worse, and by how much is the seed's. Then each of the models answers the pairs, and reads
windows of the validation text: a minute on a GPU, six on a core.
"""

import sys
from dataclasses import asdict

import torch
from tqdm import tqdm

from gpt2lite import GPT, data, pairs
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.evaluation import validation_loss
from gpt2lite.log import Log, header
from gpt2lite.precision import Precision, pick
from gpt2lite.training import Trainer

SEEDS = range(20)
RECIPE = TrainConfig(steps=60, batch_size=4, seq_len=64, lr=1e-3, betas=(0.9, 0.99))
WINDOWS = 64  # of the validation text, from all over it, each as long as the context


def losses(model, unseen) -> list[float]:
    """Return the loss of each window of a text in nats / token."""
    T = model.config.block_size
    windows = [unseen[i * (len(unseen) - T) // WINDOWS :][: T + 1] for i in range(WINDOWS)]
    return [round(validation_loss(model, window, 1, T), 4) for window in windows]


def main(log):
    """Train from each seed, let the model answer and read, and write a line."""
    B, T = RECIPE.batch_size, RECIPE.seq_len
    tokens, unseen = data.split(data.encode(load_text("shakespeare")), 0.05)
    benchmark = pairs.make_pairs()
    fp32 = Precision(pick().device, torch.float32, False, "exact and simple")
    model = GPT.from_pretrained("gpt2lite-plays")
    start = model.state_dict()
    command = f"python -m gpt2lite.course.seeds {log}"
    parts = fp32.dtype, asdict(model.config), asdict(RECIPE)
    lines = Log(log, header(command, "shakespeare", fp32.device, *parts))
    for seed in SEEDS:
        model = GPT(model.config).to(fp32.device)
        model.load_state_dict(start)
        batches = data.Batches(tokens, B, T, "random", seed, device=fp32.device)
        for _ in tqdm(Trainer(model, batches, RECIPE, fp32), total=RECIPE.steps, desc=f"{seed}"):
            pass
        right = (pairs.margins(model.eval(), benchmark) > 0).astype(int)
        lines.write({"seed": seed, "right": right.tolist(), "losses": losses(model, unseen)})


if __name__ == "__main__":
    main(sys.argv[1])
