"""The command line: `python -m gpt2lite doctor`, `sample`, `train`, `prepare`, `evaluate`, `fetch`.

Knows how to ask and how to answer in a terminal; the work is done by the modules below.
"""

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from gpt2lite import doctor as examination
from gpt2lite.assets import AssetError
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import CORPORA, fetch_corpus
from gpt2lite.distributed import DistributedError, first_ahead, joined
from gpt2lite.log import LogError
from gpt2lite.training import TrainingError

try:
    import tyro
except ImportError:
    sys.exit("gpt2lite: the command line needs tyro: run `pip install tyro`")

PROMPT = "Hello World ! I'm LLM"
VALIDATED = 2**20  # tokens of shard 0 that a run is validated on: all would take minutes each time


def _hint(default: str, **options):
    """Make --help say the default as a person would."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", **options)


def doctor() -> int:
    """Show what is here (✓), what can wait (○) and what must be mended first (✗)."""
    broken = False
    for mark, name, finding in examination.findings():
        print(f"{mark} {name:<16} {finding}", flush=True)
        broken |= mark == examination.BROKEN
    return int(broken)


def sample(
    model: str = "gpt2",
    prompt: Annotated[str, _hint(PROMPT)] = PROMPT,
    max_new_tokens: int = 32,
    temperature: float = 1.0,
    top_k: Annotated[int | None, _hint("all", metavar="INT")] = None,
    top_p: Annotated[float | None, _hint("all", metavar="FLOAT")] = None,
    num_samples: int = 1,
    overflow: Literal["refuse", "slide"] = "refuse",
    seed: int = 1337,
) -> None:
    """Continue a prompt with GPT-2's weights, or with your own.

    Args:
        model: gpt2, -medium, -large, -xl, gpt2lite-plays (no network), OWNER/NAME or a directory.
        prompt: The text to continue.
        max_new_tokens: How many tokens to add at most.
        temperature: 0 is greedy, 1 is the model's own distribution, more is wilder.
        top_k: Draw from this many likeliest tokens only.
        top_p: Draw from the fewest tokens that hold this much probability only.
        num_samples: How many continuations; a single one is printed while it is made.
        overflow: What to do past the model's context: refuse, or slide and forget the oldest.
        seed: The same seed gives the same text.
    """
    if num_samples < 1:
        raise ValueError(f"--num-samples must be at least 1, not {num_samples}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed must be a whole number from 0 to 2**63 - 1, not {seed}")
    if not prompt:
        raise ValueError("--prompt is empty: give a text, or <|endoftext|> to start from nothing")
    import torch

    from gpt2lite import GPT, precision, sampling
    from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

    device = precision.pick().device
    gpt = GPT.from_pretrained(model).to(device)
    tokenizer = get_tokenizer()
    options = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop": END_OF_TEXT,
        "overflow": overflow,
        "generator": torch.Generator(device).manual_seed(seed),
    }
    if num_samples == 1:
        pieces = sampling.stream(gpt, tokenizer, prompt, max_new_tokens, **options)
        print(prompt + next(pieces, ""), end="", flush=True)  # once the prompt was accepted
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return
    ids = tokenizer.encode(prompt, allowed_special="all")
    idx = torch.tensor([ids], device=device)
    rows = sampling.generate(gpt, idx, max_new_tokens, num_samples, **options).tolist()
    for number, row in enumerate(rows, 1):
        new = [i for i in row[len(ids) :] if i < tokenizer.n_vocab]
        new = new[: new.index(END_OF_TEXT)] if END_OF_TEXT in new else new
        print(f"--- {number}\n{prompt}{tokenizer.decode(new)}")


def train(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig(),  # noqa: B008
    model: Annotated[str | None, _hint("gpt2, or as --init-from", metavar="SIZE")] = None,
    init_from: Annotated[str | None, _hint("from scratch", metavar="NAME|FOLDER")] = None,
    dropout: float = 0.0,
    init: Literal["gpt2", "linear", "embedding"] = "gpt2",
    text: str = "tinyshakespeare",
    order: Literal["sequential", "random"] = "sequential",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    compile: bool = False,
    shard: bool = False,
    val_fraction: float = 0.0,
    log_file: Path | None = None,
    tensorboard: Path | None = None,
    save: Path | None = None,
    save_every: int = 500,
    save_minutes: Annotated[float | None, _hint("never", metavar="FLOAT")] = None,
    export: Path | None = None,
) -> None:
    """Train a GPT-2 on a text, from scratch or from released weights, and log every step.

    `torchrun --nproc-per-node N -m gpt2lite train` does the same in N processes, one for a GPU: the
    settings are those of the whole step, and they share it. (On Windows, set USE_LIBUV=0 before.)

    Args:
        config: The run's settings.
        model: A size: gpt2, gpt2-medium, gpt2-large, gpt2-xl, or the course's lite.
        init_from: Weights to train on from, by the names that `sample --model` takes.
        dropout: The share of activations to silence while training; a small text needs some.
        init: GPT-2's own, or PyTorch's defaults with the tied matrix as linear or embedding.
        text: shakespeare, tinyshakespeare, a file of yours or a folder of shards (see prepare).
        order: Read on from batch to batch, or begin each sequence anywhere.
        dtype: Of the matrix products; auto takes what is fast and safe on this hardware.
        compile: Compile the model first, where that works.
        shard: Under torchrun, cut the model up over the processes instead of copying it.
        val_fraction: The share of the text, at its end, to keep for measuring the loss on.
        log_file: A JSONL file to write, a header and a line per step.
        tensorboard: A folder to write the same into, for TensorBoard.
        save: A folder for checkpoints; a run that finds one there goes on from it.
        save_every: Steps between checkpoints and validations.
        save_minutes: Minutes after which to save a checkpoint in between.
        export: A folder for the best model so far, tokenizer and card, as transformers opens them.
    """
    import torch

    from gpt2lite import GPT, SIZES, cpu, data, distributed, precision, run
    from gpt2lite.corpora import load_text
    from gpt2lite.model import init_default
    from gpt2lite.pretrained import sizes_of

    if model is not None and model not in SIZES:
        raise ValueError(f"{model} is none of the sizes: {', '.join(SIZES)}")
    if init_from and init != "gpt2":
        raise ValueError(f"--init {init} begins from scratch, --init-from does not: leave one out")
    chosen = precision.pick(distributed.device())
    if dtype != "auto":
        kind = getattr(torch, dtype)
        chosen = replace(chosen, dtype=kind, scaler=kind == torch.float16, reason="as asked")
    cpu.keep_process_memory()  # each step then reuses what the one before has freed
    torch.manual_seed(config.seed)
    sizes = sizes_of(init_from) if init_from and model is None else SIZES[model or "gpt2"]
    gpt = GPT(replace(sizes, dropout=dropout))
    if init != "gpt2":
        init_default(gpt, wte=init)
    if Path(text).is_dir():
        tokens, validation = data.Shards(text), data.Shards(text, "val")[: VALIDATED + 1]
    else:
        with first_ahead():
            words = load_text(text)
        tokens, validation = data.encode(words), None
    steps = run.train(
        gpt.to(chosen.device),
        tokens,
        config,
        chosen,
        init_from=init_from,
        compile=compile,
        shard=shard,
        order=order,
        val_fraction=val_fraction,
        validation=validation,
        name=text,
        command=f"{distributed.launcher()} -m gpt2lite {shlex.join(sys.argv[1:])}",
        log_file=log_file,
        tensorboard=tensorboard,
        save=save,
        save_every=save_every,
        save_minutes=save_minutes,
        export=export,
    )
    for _ in steps:
        pass
    print(f"done: {config.steps} steps")


def prepare(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")],
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    max_tokens: Annotated[int | None, _hint("all", metavar="INT")] = None,
    shard_tokens: int = 100_000_000,
    column: str = "text",
    seed: int = 1337,
    workers: Annotated[int | None, _hint("one a core", metavar="INT")] = None,
) -> None:
    """Turn documents into token shards to train on; typed again, it goes on where it was.

    Args:
        source: fineweb-edu, a .jsonl or .parquet file, a pattern in quotes or an hf:// address.
        folder: A folder for the shards; shard 0 is to validate on.
        max_tokens: When to stop.
        shard_tokens: When a shard is full.
        column: The column whose texts are the documents.
        seed: For the order of files, and of documents in a shard.
        workers: Threads that encode.
    """
    from gpt2lite.prepare import prepare

    options = {"max_tokens": max_tokens, "shard_tokens": shard_tokens, "column": column}
    for shard in prepare(source, folder, **options, seed=seed, workers=workers):
        speed = shard["bytes"] / 1e6 / shard["seconds"]
        print(
            f"{shard['name']}  {shard['documents']:>9,} documents  {shard['tokens']:>11,} tokens"
            f"  {speed:.1f} MB/s",
            flush=True,
        )


def evaluate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    on: Annotated[str, _hint("pairs", metavar="TEXT|pairs|hellaswag")] = "pairs",
    val_fraction: Annotated[float | None, _hint("all", metavar="FLOAT")] = None,
) -> None:
    """Measure a model on a text or a benchmark, and print what comes out as JSON.

    Args:
        model: gpt2, -medium, -large, -xl, gpt2lite-plays (no network), OWNER/NAME or a directory.
        on: A text (shakespeare, tinyshakespeare or a file of yours), pairs or hellaswag.
        val_fraction: Of a text, the share at its end to measure on.
    """
    from functools import partial

    from tqdm import tqdm

    from gpt2lite import GPT, data, evaluation, hellaswag, pairs, precision
    from gpt2lite.corpora import load_text

    if val_fraction is not None and on in ("pairs", "hellaswag"):
        raise ValueError(f"--val-fraction is a share of a text: {on} is measured whole")
    if on == "pairs":
        items = pairs.make_pairs()
    elif on == "hellaswag":
        items = hellaswag.load()
    else:
        tokens = data.encode(load_text(on))
        tokens = tokens if val_fraction is None else data.split(tokens, val_fraction)[1]
    gpt = GPT.from_pretrained(model).to(precision.pick().device)
    bar = partial(tqdm, desc=on, unit="batch")
    if on == "pairs":
        shares = pairs.accuracies(items, pairs.margins(gpt, items, bar=bar))
        found = {kind: share._asdict() for kind, share in shares.items()}
    elif on == "hellaswag":
        found = {
            prepared: {divisor: share._asdict() for divisor, share in shares.items()}
            for prepared, shares in hellaswag.accuracies(gpt, items, bar=bar).items()
        }
    else:
        T = gpt.config.block_size
        score = evaluation.score_text(gpt, tokens, max(1, 4096 // T), T, bar)
        found = {
            name: getattr(score, name)
            for name in ("loss", "perplexity", "bits_per_byte", "tokens", "bytes")
        }
    print(json.dumps({"model": model, "on": on} | found, indent=2))


def fetch(
    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]], _hint("shakespeare", metavar="[NAME ...]")
    ] = ("shakespeare",),
    everything: Annotated[bool, tyro.conf.arg(name="all", help_behavior_hint="")] = False,
) -> None:
    """Download texts to train on, check them and say where they lie.

    Args:
        names: Corpora: shakespeare (the complete plays) or tinyshakespeare.
        everything: All of them.
    """
    for name in CORPORA if everything else names:
        print(f"{name:<16} {fetch_corpus(name)}", flush=True)


def main(args: list[str] | None = None) -> int:
    """Run one command and return its exit status; our own errors become one line, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # an old terminal may not know ✓
    try:
        with joined():
            status = tyro.extras.subcommand_cli_from_dict(
                {
                    "doctor": doctor,
                    "sample": sample,
                    "train": train,
                    "prepare": prepare,
                    "evaluate": evaluate,
                    "fetch": fetch,
                },
                prog="python -m gpt2lite",
                description="GPT-2 from scratch: check, sample, train, prepare, evaluate, fetch.",
                args=args,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush
        return 141
    except (
        AssetError,
        DistributedError,
        LogError,
        ResumeError,
        TrainingError,
        ValueError,
        OSError,
    ) as error:
        print(f"gpt2lite: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
