"""What several tests share: a tiny configuration, weights that matter, transformers' GPT-2."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lite import GPT, GPTConfig
from gpt2lite.assets import NetworkError
from gpt2lite.corpora import load_text
from gpt2lite.pretrained import _NoInit

# Models this small gain nothing from a second thread, and lose much where the cores are busy.
torch.set_num_threads(1)

TINY = GPTConfig(block_size=12, vocab_size=61, n_layer=2, n_head=2, n_embd=16)


def enlarge(model, seed=0):
    """Fill every parameter, gains and biases too, with random numbers: one left out then shows.

    The scale keeps activations and logits near 1, where 1e-5 is above rounding and far below any
    mistake.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(generator=generator)
            if p.dim() == 1:
                p.mul_(0.3).add_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
            elif name.endswith(("wte.weight", "wpe.weight")):
                p.mul_(0.5 / p.size(1) ** 0.5)
            else:
                p.mul_(1 / min(p.shape) ** 0.5)
    return model


def tiny_gpt(seed=0, **changes) -> GPT:
    """Return a small GPT with weights that matter, in evaluation mode."""
    return enlarge(GPT(GPTConfig(**(vars(TINY) | changes))), seed).eval()


def typed_today(command: str) -> str:
    """Return a recorded run's command with the options' names as they are now."""
    renamed = {" --log ": " --log-file ", " --validation ": " --val-fraction "}
    for then, now in renamed.items():
        command = command.replace(then, now)
    return command


def hf_config(config, **changes):
    """Return transformers' description of the same sizes, without dropout."""
    sizes = dict(
        n_positions=config.block_size,
        vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
    )
    off = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    special = dict.fromkeys(("bos_token_id", "eos_token_id"), config.vocab_size - 1)
    return GPT2Config(**(sizes | off | special | changes))


def pair(config, folder, seed=0):
    """Return our GPT-2 and transformers', from whose files ours has the random weights."""
    with _NoInit():  # all is filled anew
        theirs = GPT2LMHeadModel(hf_config(config))
    enlarge(theirs, seed).eval()
    theirs.save_pretrained(folder)
    return GPT.from_pretrained(folder), theirs


def corpus_or_skip(name) -> str:
    """Return a corpus; skip the test if the network doesn't bring it, and for no other reason."""
    try:
        return load_text(name)
    except NetworkError as error:
        pytest.skip(str(error))


def random_ids(config, B, T, seed=0):
    """Return random token ids (B, T)."""
    return torch.randint(config.vocab_size, (B, T), generator=torch.Generator().manual_seed(seed))
