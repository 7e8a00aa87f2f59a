"""The command line: `python -m gpt2lite doctor`, `sample`, `train` and `fetch`.

Knows how to ask and how to answer in a terminal; the work is done by the modules below.
"""

import importlib.metadata
import math
import os
import platform
import shlex
import shutil
import sys
import threading
import urllib.request
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Literal

from gpt2lite.assets import AssetError, cache_dir
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import CORPORA, corpus_path, fetch_corpus
from gpt2lite.training import TrainingError

try:
    import tyro
except ImportError:
    sys.exit("gpt2lite: the command line needs tyro: run `pip install tyro`")

OK, LATER, BROKEN = "✓", "○", "✗"
PROMPT = "Hello World ! I'm LLM"
REFERENCE_PATH = "openai-community/gpt2/resolve/main/config.json"


def _hint(default: str, **options):
    """Make --help say the default as a person would."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", **options)


def doctor() -> int:
    """Show what is here (✓), what can wait (○) and what must be mended first (✗)."""
    checks = (_python, _packages, _device, _tokenizer, _corpora, _hub, _disk)
    broken = False
    for check in checks:
        for mark, name, finding in check():
            print(f"{mark} {name:<16} {finding}", flush=True)
            broken |= mark == BROKEN
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
    model: str = "gpt2",
    dropout: float = 0.0,
    init: Literal["gpt2", "linear", "embedding"] = "gpt2",
    text: str = "tinyshakespeare",
    order: Literal["sequential", "random"] = "sequential",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    compile: bool = False,
    val_fraction: float = 0.0,
    log_file: Path | None = None,
    tensorboard: Path | None = None,
    save: Path | None = None,
    save_every: int = 500,
    export: Path | None = None,
) -> None:
    """Train a GPT-2 from scratch on a text, and log every step.

    Args:
        config: The run's settings.
        model: A size: gpt2, gpt2-medium, gpt2-large, gpt2-xl, or the course's lite.
        dropout: The share of activations to silence while training; a small text needs some.
        init: GPT-2's own, or PyTorch's defaults with the tied matrix as linear or embedding.
        text: shakespeare, tinyshakespeare or a file of yours.
        order: Read on from batch to batch, or begin each sequence anywhere.
        dtype: Of the matrix products; auto takes what is fast and safe on this hardware.
        compile: Compile the model first, where that works.
        val_fraction: The share of the text, at its end, to keep for measuring the loss on.
        log_file: A JSONL file to write, a header and a line per step.
        tensorboard: A folder to write the same into, for TensorBoard.
        save: A folder for checkpoints; a run that finds one there goes on from it.
        save_every: Steps between checkpoints and validations.
        export: A folder for model and tokenizer as transformers opens them: bf16, the best so far.
    """
    import torch

    from gpt2lite import GPT, SIZES, checkpoint, cpu, data, evaluation, precision, training
    from gpt2lite.corpora import load_text
    from gpt2lite.model import init_default
    from gpt2lite.tokenizer import save_tokenizer

    if save_every < 1:
        raise ValueError(f"--save-every must be at least 1, not {save_every}")
    if model not in SIZES:
        raise ValueError(f"{model} is none of the sizes: {', '.join(SIZES)}")
    if not 0 <= val_fraction < 1:
        raise ValueError(f"--val-fraction is a share of the text, such as 0.1, not {val_fraction}")
    cpu.keep_process_memory()
    chosen = precision.pick()
    if dtype != "auto":
        kind = getattr(torch, dtype)
        chosen = replace(chosen, dtype=kind, scaler=kind == torch.float16, reason="as asked")
    torch.manual_seed(config.seed)
    gpt = GPT(replace(SIZES[model], dropout=dropout))
    if init != "gpt2":
        init_default(gpt, wte=init)
    gpt.to(chosen.device)
    shape = config.batch_size, config.seq_len
    tokens, unseen = data.split(data.encode(load_text(text)), val_fraction)
    batches = data.Batches(tokens, *shape, order, config.seed, device=chosen.device)
    run = training.Trainer(gpt, batches, config, chosen, compile)
    if compile:
        print(run.compiled)
    best, offset = math.inf, None
    reads = {"text": text, "order": order, "val_fraction": val_fraction}
    if save and checkpoint.found(save):
        state = checkpoint.load(save)
        if state["reads"] != reads:
            raise TrainingError(f"the run in {save} reads {state['reads']}, not {reads}")
        run.load_state_dict(state)
        best, offset = state["best"], state["log"]
    command = "python -m gpt2lite " + shlex.join(sys.argv[1:])
    head = training.header(run, text, command)
    lines = training.Log(log_file, head, offset) if log_file else None
    board = training.TensorBoard(tensorboard) if tensorboard else None
    for record in training.progress(run):
        pause = run.done % save_every == 0 or run.done == config.steps
        if pause and val_fraction:
            record["validation"] = evaluation.validation_loss(gpt, unseen, *shape)
        for sink in filter(None, (lines, board)):
            sink.write(record)
        if pause and save:
            found_better = record.get("validation", math.inf) < best
            best = min(best, record.get("validation", math.inf))
            here = {"best": best, "log": lines.offset if lines else None, "reads": reads}
            state = run.state_dict() | here
            checkpoint.save(save, run.done, state, best=found_better)
    if export:
        if save and (kept := checkpoint.found(save, best=True)):
            gpt.load_state_dict(checkpoint.load(kept[-1])["model"])
        gpt.to(torch.bfloat16).save_pretrained(export)
        save_tokenizer(export)
    print(f"done: {run.done} steps")


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
        return (
            tyro.extras.subcommand_cli_from_dict(
                {"doctor": doctor, "sample": sample, "train": train, "fetch": fetch},
                prog="python -m gpt2lite",
                description="GPT-2 from scratch: check this machine, sample, train, fetch texts.",
                args=args,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
            or 0
        )
    except (AssetError, ResumeError, TrainingError, ValueError, OSError) as error:
        print(f"gpt2lite: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _python():
    version = platform.python_version()
    yield OK, "python", f"{version}, {platform.system()} {platform.machine()}"


def _packages():
    """Compare what is installed with what gpt2lite declares, and look for the extras it names."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in importlib.metadata.requires("gpt2lite") or []]
    except importlib.metadata.PackageNotFoundError:
        yield BROKEN, "gpt2lite", "not installed here: run `pip install -e .` in the repository"
        return
    for requirement in declared:
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if extra and requirement.name not in ("transformers", "jupyterlab"):
            continue
        mark = LATER if extra else BROKEN
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield mark, requirement.name, f"missing: run `pip install '{requirement}'`"
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield OK, requirement.name, version
        else:
            wanted = f"{requirement.name}{requirement.specifier}"
            yield mark, requirement.name, f"{version} is too old: run `pip install '{wanted}'`"


def _device():
    try:
        import torch

        from gpt2lite.precision import pick

        choice = pick()
        torch.ones(2, device=choice.device).sum().item()  # an old GPU may be found, but not served
    except Exception as error:  # a broken driver or half an install: the reader must see which
        yield BROKEN, "device", f"{type(error).__name__}: {error}; reinstall torch"
    else:
        dtype = str(choice.dtype).removeprefix("torch.")
        yield OK, "device", f"{choice.device}, {dtype} ({choice.reason})"


def _tokenizer():
    try:
        from gpt2lite.tokenizer import get_tokenizer

        yield OK, "tokenizer", f"{get_tokenizer().n_vocab:,} tokens"
    except (AssetError, ImportError) as error:
        yield BROKEN, "tokenizer", str(error)


def _corpora():
    for name in CORPORA:
        try:
            if os.path.exists(corpus_path(name)):
                yield OK, name, str(fetch_corpus(name))
            else:
                yield LATER, name, f"not here yet: `python -m gpt2lite fetch {name}`"
        except AssetError as error:
            yield BROKEN, name, str(error)


def _hub():
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answers = []

    def ask():
        with suppress(OSError, ValueError, HTTPException):
            request = urllib.request.Request(f"{endpoint}/{REFERENCE_PATH}", method="HEAD")
            with urllib.request.urlopen(request, timeout=2):
                answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a name lookup has no timeout of its own
    thread.start()
    thread.join(2)
    if answers:
        yield OK, "hub", f"{endpoint} answers"
    else:
        yield LATER, "hub", f"{endpoint} does not answer: OpenAI's weights only if cached"


def _disk():
    folder = cache_dir()
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    finding = f"{free:.1f} GB free at {cache_dir()}"
    if free < 1:
        yield BROKEN, "disk", f"{finding}: GPT-2 alone needs 0.6; make room"
    else:
        yield OK, "disk", finding


if __name__ == "__main__":
    sys.exit(main())
