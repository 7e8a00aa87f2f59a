"""Score the course's own 20 questions with lm-evaluation-harness, and compare: `make lm-eval`.

Its own code prepares the texts, makes the tokens and adds up the log-probabilities, of the course's
small model as transformers opens it. Ours must be the same within 1e-4, and so must the accuracies.
Its softmax computes in fp64 here: in fp32 the sum over 50,257 tokens is off by more than that.
What it says is kept in tests/lm_eval.json, where the daily tests find it; delete that file to write
it anew.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# Before the imports: nothing here asks the hub, and the harness tells errors only.
os.environ |= {"HF_HUB_OFFLINE": "1", "LMEVAL_LOG_LEVEL": "ERROR"}

import lm_eval
import yaml
from lm_eval.tasks import TaskManager

from gpt2lite import GPT, hellaswag
from gpt2lite.pretrained import PLAYS

KEPT = Path(__file__).parent.parent / "tests" / "lm_eval.json"
TASK = {
    "task": "own_questions",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"validation": str(hellaswag.OWN)}},
    "output_type": "multiple_choice",
    "validation_split": "validation",
    "doc_to_text": "{{query}}",
    "doc_to_target": "{{gold}}",
    "doc_to_choice": "choices",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
}


def theirs() -> dict:
    """Return what the harness makes of the questions: log-probabilities (20, 4), accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        texts = "from lm_eval.tasks.hellaswag.utils import process_docs\n"
        (Path(folder) / "utils.py").write_text(texts, encoding="utf-8")
        task = yaml.safe_dump(TASK) + "process_docs: !function utils.process_docs\n"
        (Path(folder) / "own_questions.yaml").write_text(task, encoding="utf-8")
        found = lm_eval.simple_evaluate(
            model="hf",
            model_args=f"pretrained={PLAYS},dtype=float32,softmax_dtype=float64",
            tasks=["own_questions"],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            device="cpu",
            log_samples=True,
            bootstrap_iters=0,
        )
    samples = sorted(found["samples"]["own_questions"], key=lambda sample: sample["doc_id"])
    metrics = found["results"]["own_questions"]
    return {
        "lm_eval": version("lm_eval"),
        "acc": metrics["acc,none"],
        "acc_norm": metrics["acc_norm,none"],
        "logprobs": [[round(float(p), 5) for p, _ in s["filtered_resps"]] for s in samples],
    }


def main() -> int:
    """Compare, and say by how much the two differ."""
    found, questions = theirs(), hellaswag.own_questions()
    scores = hellaswag.score(GPT.from_pretrained("gpt2lite-plays"), questions, "lm-eval")
    gap = max(
        abs(ending.logprob - value)
        for endings, values in zip(scores, found["logprobs"], strict=True)
        for ending, value in zip(endings, values, strict=True)
    )
    right = [hellaswag.right(scores, questions, d).mean() for d in ("sum", "per character")]
    same = gap < 1e-4 and right == [found["acc"], found["acc_norm"]]
    told = (
        f"of {sum(map(len, scores))} endings' log-probabilities the largest difference is {gap:.1e}"
    )
    print(f"{'✓' if same else '✗'} lm-eval {found['lm_eval']}: {told} nats; {right[0]:.0%} of the")
    print(f"  questions by the sum and {right[1]:.0%} per character; it has {found['acc']:.0%} and")
    print(f"  {found['acc_norm']:.0%}")
    if same and not KEPT.exists():
        KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return not same


if __name__ == "__main__":
    sys.exit(main())
