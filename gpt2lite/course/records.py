"""The full-size runs that the notebooks plot: where their logs lie, and the original's losses.

Knows nothing about what a log holds.
"""

from pathlib import Path

import gpt2lite

# The losses that the README of the original project prints, by run and step.
ORIGINAL = {
    "step1": dict(
        zip(
            range(0, 1000, 100),
            (11.0011, 4.9416, 4.2336, 5.2082, 4.2915, 4.1871, 6.1562, 5.7454, 4.9037, 6.5263),
            strict=True,
        )
    ),
    "step2": dict(
        zip(
            range(0, 1000, 100),
            (10.9186, 6.5374, 5.8276, 6.2550, 4.6903, 6.2554, 6.1157, 5.1208, 4.7785, 6.2280),
            strict=True,
        )
    ),
    "step3": dict(
        zip(
            range(0, 100, 10),
            (10.9368, 7.5061, 7.0942, 6.7423, 6.6048, 6.5786, 6.5698, 6.4350, 6.7832, 6.2560),
            strict=True,
        )
    ),
}


def recorded(run: str) -> Path:
    """Return the log of a full-size run, such as "step1", for gpt2lite.log.read_log.

    It lies in notebooks/recorded, and travels with an installed package. "gpu" is no log, but JSON:
    what was measured on one GPU. Raises FileNotFoundError for a run that nobody recorded.
    """
    package = Path(gpt2lite.__file__).parent
    folders = package.parent / "notebooks" / "recorded", package / "recorded"
    for path in (folder / f"{run}{end}" for folder in folders for end in (".jsonl", ".json")):
        if path.exists():
            return path
    known = sorted(path.stem for folder in folders for path in folder.glob("*.jsonl"))
    raise FileNotFoundError(f"no run is recorded as {run!r}: there are {', '.join(known)}")
