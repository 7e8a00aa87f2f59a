"""The small model that comes with the package: small, open to transformers, as its card says."""

import re

import torch
import transformers
from helpers import typed_today

from gpt2lite import GPT
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log
from gpt2lite.pretrained import PLAYS
from gpt2lite.sampling import generate
from gpt2lite.tokenizer import get_tokenizer


def test_it_is_small():
    assert sum(file.stat().st_size for file in PLAYS.iterdir()) <= 30e6


def test_the_pipeline_of_transformers_says_what_we_say():
    ours, tokenizer = GPT.from_pretrained("gpt2lite-plays"), get_tokenizer()
    speak = transformers.pipeline("text-generation", model=str(PLAYS), dtype=torch.float32)
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
    theirs = speak("ROMEO\nWhat light", **options)[0]["generated_text"]
    idx = torch.tensor([tokenizer.encode_ordinary("ROMEO\nWhat light")])
    assert tokenizer.decode(generate(ours, idx, 24, temperature=0)[0].tolist()) == theirs


def test_its_card_says_what_its_log_says():
    card = (PLAYS / "README.md").read_text(encoding="utf-8")
    header, records = read_log(recorded("plays"))
    losses = [r["validation"] for r in records if "validation" in r]
    assert f"validation loss of {min(losses):.3f} nats / token" in card
    assert typed_today(header["command"]) in re.sub(r" \\\n *", " ", card), (
        "the card shows another command"
    )
    minutes = sum(r["ms"] for r in records) / 60e3
    assert f"{minutes:.0f} minutes" in card
