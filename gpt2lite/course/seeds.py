"""One recipe from seven seeds: how far the loss and the pairs differ when nothing else does.

    python -m gpt2lite.course.seeds LOG

trains the course's small model for 60 steps more, 4 x 64 tokens each, once for each seed, which
draws where in the plays the batches come from. The rate is high for batches so small: the model
gets worse, and by how much is the seed's. Then each of the seven answers the pairs.
"""

import sys
from dataclasses import asdict

import torch
from tqdm import tqdm

from gpt2lite import GPT, data, evaluation, pairs
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.log import Log, header
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer

SEEDS = range(7)
RECIPE = TrainConfig(steps=60, batch_size=4, seq_len=64, lr=1e-3, betas=(0.9, 0.99))
READ = 64  # batches of the validation text


def main(log):
    """Train from each seed, let the model answer the pairs, and write a line: two minutes."""
    B, T = RECIPE.batch_size, RECIPE.seq_len
    tokens, unseen = data.split(data.encode(load_text("shakespeare")), 0.05)
    benchmark = pairs.make_pairs()
    fp32 = Precision(torch.device("cpu"), torch.float32, False, "exact and simple")
    model = GPT.from_pretrained("gpt2lite-plays")
    start = model.state_dict()
    command = f"python -m gpt2lite.course.seeds {log}"
    parts = fp32.dtype, asdict(model.config), asdict(RECIPE)
    lines = Log(log, header(command, "shakespeare", fp32.device, *parts))
    for seed in SEEDS:
        model = GPT(model.config)
        model.load_state_dict(start)
        batches = data.Batches(tokens, B, T, "random", seed)
        for _ in tqdm(Trainer(model, batches, RECIPE, fp32), total=RECIPE.steps, desc=f"{seed}"):
            pass
        margins = pairs.margins(model.eval(), benchmark)
        loss = evaluation.validation_loss(model, unseen, B, T, READ)
        record = {"seed": seed, "validation": round(loss, 4)}
        lines.write(record | {"margins": [round(float(margin), 3) for margin in margins]})


if __name__ == "__main__":
    main(sys.argv[1])
