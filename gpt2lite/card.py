"""A model card: what an exported model is, what it was trained on and how, and what came out.

Knows nothing about how a run is made. Sources: the hub's documentation of model cards, a README.md
that begins with YAML; Mitchell et al. 2019, for what a card should tell.
"""

import math
from pathlib import Path

from gpt2lite.accounting import count_parameters
from gpt2lite.assets import AssetError, replacing
from gpt2lite.config import GPTConfig

NAME = "README.md"
OURS = "<!-- The next export writes this card anew: to keep your changes, delete this line. -->"

CARD = """---
license: unknown  # please state it: the text's terms bind you, the rest is your choice
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2]
---
{ours}

# {title}

A GPT-2 with {parameters:,} parameters and GPT-2's tokenizer, trained by gpt2-lite, in bf16.

- **Result**: {result}
- **Data**: {data}: {n:,} tokens, {unseen}; fingerprint {sha256}
- **Training**: {begun}{steps:,} steps of {per_step:,} tokens, {times:.2f} times through the text
- **Settings**: {training}
- **Sizes**: {sizes}
- **Made on**: {hardware}, torch {torch}, {precision}

Losses are in nats / token; the training loss is that of one step, with dropout if there is any.

```
{command}
```
"""


def model_card(title: str, head: dict, begun: dict, exported: dict, last: dict) -> str:
    """Return the card of a run's model, in Markdown.

    head: as log.header returns it. begun: the fingerprint of the "tokens", their number "n_tokens",
    the "val_fraction" of them that only validates, and "init_from". exported, last: "step", "loss"
    and "validation" (NaN if not measured) of the weights that are exported, and of the run's end.
    """
    training, n, share = head["training"], begun["n_tokens"], begun["val_fraction"]
    per_step = training["batch_size"] * training["seq_len"] * training["grad_accum_steps"]
    n_val = int(n * share)
    return CARD.format(
        ours=OURS,
        title=title,
        parameters=count_parameters(GPTConfig(**head["model"]))["total"],
        result=_losses(exported) + ("" if exported == last else f"; at the end {_losses(last)}"),
        data=head["data"],
        n=n,
        unseen=f"the last {n_val:,} of them for validation only" if n_val else "all for training",
        sha256=begun["tokens"],
        begun=f"on from {begun['init_from']}, " if begun["init_from"] else "",
        steps=training["steps"],
        per_step=per_step,
        times=training["steps"] * per_step / (n - n_val),
        training=_listed(training),
        sizes=_listed(head["model"]),
        hardware=head["hardware"],
        torch=head["torch"],
        precision=head["precision"],
        command=head["command"],
    )


def save_card(folder, card: str) -> None:
    """Write a model card into a folder, whole; one that the reader has made their own stays.

    Raises AssetError if it can't be written; then what was there before is whole.
    """
    path = Path(folder) / NAME
    try:
        if path.exists() and OURS not in path.read_text(encoding="utf-8"):
            print(f"{path} is your own and stays as it is: see that it tells of the new weights")
            return
        with replacing(Path(folder), [NAME]) as partial:
            (partial / NAME).write_text(card, encoding="utf-8")
    except OSError as error:
        raise AssetError(
            f"cannot write {path} ({error}): make room there, or name another folder"
        ) from error


def _losses(record: dict) -> str:
    """Say a record's losses, and after how many steps."""
    measured = math.isfinite(record["validation"])
    validation = f"validation loss {record['validation']:.3f}, " if measured else ""
    return f"{validation}training loss {record['loss']:.3f} after {record['step'] + 1:,} steps"


def _listed(settings: dict) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
