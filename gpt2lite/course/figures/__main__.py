"""Write the README's pictures into images/: `python -m gpt2lite.course.figures`."""

from pathlib import Path

from gpt2lite.course.figures import forward_pass, gpt2, step_curve, wrong_models
from gpt2lite.plotting import to_png

PICTURES = {
    "wrong_models": wrong_models,
    "gpt2": gpt2,
    "gpt2_ff": forward_pass,
    "s1": lambda: step_curve("step1"),
    "s2": lambda: step_curve("step2"),
    "s3": lambda: step_curve("step3"),
}


def main(folder="images"):
    """Write the README's pictures into `folder`, the same bytes each time."""
    for name, draw in PICTURES.items():
        path = Path(folder) / f"{name}.png"
        path.write_bytes(to_png(draw(), dpi=300))
        print(path)


if __name__ == "__main__":
    main()
