"""From logits to text: the distribution, the KV cache, the options and their refusals, the stream.

Nothing here compares with a stored sample: random draws differ between machines, properties do not.
"""

import pytest
import torch
from helpers import TINY, random_ids, tiny_gpt
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from gpt2lite import GPTConfig, cpu
from gpt2lite.sampling import KVCache, generate, next_logits, probabilities, stream, tokens
from gpt2lite.tokenizer import get_tokenizer

SIZE = TINY.block_size


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_logits(rows=50, V=200):
    return 3 * torch.randn(rows, V, generator=seeded())


# The distribution


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [None, 1, 7, 200, 1000])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 0.999])
def test_probabilities_equal_transformers(temperature, top_k, top_p):
    logits = random_logits()
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p:
        expected = TopPLogitsWarper(top_p)(None, expected)
    p = probabilities(logits, temperature, top_k, top_p)
    assert torch.equal(p > 0, expected > -torch.inf), "other tokens are kept"
    assert torch.allclose(p, expected.softmax(-1), atol=1e-6)
    assert torch.allclose(p.sum(-1), torch.ones(50), atol=1e-6)


def test_temperature_0_is_certain_of_the_likeliest():
    logits = random_logits()
    p = probabilities(logits, temperature=0)
    assert torch.equal(p, torch.nn.functional.one_hot(logits.argmax(-1), 200).float())


def test_the_token_that_crosses_top_p_is_kept():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for top_p, kept in ((1e-9, 1), (0.4, 1), (0.6, 2), (0.85, 3), (0.97, 4)):
        assert probabilities(logits, top_p=top_p).count_nonzero() == kept, f"top_p={top_p}"


def test_top_p_that_is_met_exactly_keeps_no_more():
    assert probabilities(torch.zeros(2), top_p=0.5).count_nonzero() == 1
    quarters = torch.tensor([0.125, 0.5, 0.25, 0.0625, 0.0625]).log()
    assert probabilities(quarters, top_p=0.75).nonzero().flatten().tolist() == [1, 2]


def test_a_small_temperature_still_divides():
    p = probabilities(torch.tensor([0.0, 1e-3]), temperature=1e-3)
    assert torch.allclose(p, torch.tensor([0.0, 1.0]).softmax(0), atol=1e-4)


@pytest.mark.parametrize("temperature", [1e-45, 1e-320, 1e-38])
def test_a_tiny_temperature_is_greedy(temperature):
    logits = 1e4 * random_logits()
    assert torch.equal(probabilities(logits, temperature), probabilities(logits, 0))
    assert torch.equal(probabilities(logits, temperature, 50, 0.9), probabilities(logits, 0))


def test_a_huge_temperature_is_uniform():
    assert torch.allclose(probabilities(random_logits(), 1e38), torch.full((50, 200), 1 / 200))


def test_top_p_of_1_keeps_every_token():
    logits = torch.randn(4, 50257, generator=seeded())
    assert torch.equal(probabilities(logits, top_p=1.0), probabilities(logits))


def test_half_precision_logits_become_an_fp32_distribution():
    p = probabilities(random_logits().bfloat16(), 0.8, 50, 0.9)
    assert p.dtype == torch.float32 and torch.allclose(p.sum(-1), torch.ones(50), atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\]"),
    ],
)
def test_meaningless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        probabilities(random_logits(), **options)
    with pytest.raises(ValueError, match=message):
        generate(tiny_gpt(), torch.tensor([[1]]), 1, **options)


# The KV cache


@torch.no_grad()
@pytest.mark.parametrize("length", range(1, SIZE + 1))
def test_cached_is_uncached_however_the_prompt_is_split(length):
    model, idx = tiny_gpt(), random_ids(TINY, 3, length)
    expected = model.hidden(idx)
    for first in range(1, length + 1):  # a prefill, then the rest at once
        cache = KVCache(model, 3, length)
        parts = [model.hidden(idx[:, :first], cache)]
        if first < length:
            parts.append(model.hidden(idx[:, first:], cache))
        gap = (torch.cat(parts, 1) - expected).abs().max()
        assert cache.length == length and gap <= 1e-5, f"{first} + {length - first}: {gap:.1e}"


@torch.no_grad()
def test_cached_is_uncached_token_by_token():
    model, idx = tiny_gpt(), random_ids(TINY, 2, SIZE)
    cache = KVCache(model, 2, SIZE)
    steps = [model.hidden(idx[:, t : t + 1], cache) for t in range(SIZE)]
    assert (torch.cat(steps, 1) - model.hidden(idx)).abs().max() <= 1e-5


@torch.no_grad()
def test_the_cache_does_not_pass_the_context():
    model = tiny_gpt()
    cache = KVCache(model, 1, SIZE)
    model.hidden(random_ids(TINY, 1, SIZE), cache)
    with pytest.raises(ValueError, match=f"{SIZE + 1} tokens do not fit"):
        model.hidden(torch.tensor([[1]]), cache)


def greedy_by_hand(model, idx, n):
    with torch.no_grad():
        for _ in range(n):
            idx = torch.cat([idx, model(idx[:, -SIZE:])[:, -1].argmax(-1, keepdim=True)], 1)
    return idx


@pytest.mark.filterwarnings("ignore:.*pass the context")
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("length", [*range(1, SIZE + 1), SIZE + 5])
def test_greedy_is_the_argmax_loop_also_past_the_context(length, use_cache):
    model, idx = tiny_gpt(), random_ids(TINY, 3, length)
    made = generate(model, idx, 8, temperature=0, overflow="slide", use_cache=use_cache)
    assert torch.equal(made, greedy_by_hand(model, idx, 8))


@pytest.mark.filterwarnings("ignore:.*pass the context")
def test_cached_and_uncached_draw_the_same_tokens():
    model, idx = tiny_gpt(), random_ids(TINY, 2, 3)
    a, b = (
        generate(model, idx, 20, generator=seeded(), overflow="slide", use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert torch.equal(a, b)


def test_only_new_tokens_are_computed(monkeypatch):
    model, widths = tiny_gpt(), []
    hidden = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda idx, cache=None: widths.append(idx.size(1)) or hidden(idx, cache)
    )
    with pytest.warns(UserWarning, match="pass the context"):
        generate(model, random_ids(TINY, 1, 9), 5, overflow="slide")
    assert widths == [9, 1, 1, 1, SIZE], "the cache serves until the context is full"


def test_the_model_runs_inside_the_cpus_context_for_all_rows(monkeypatch):
    model, asked, inside = tiny_gpt(), [], []

    class Context:
        def __enter__(self):
            inside.append("in")

        def __exit__(self, *_):
            inside.append("out")

    monkeypatch.setattr(cpu, "decoding", lambda *sizes: asked.append(sizes) or Context())
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda *a: inside.append("model") or hidden(*a))
    generate(model, random_ids(TINY, 2, 3), 2, num_samples=3)
    assert asked == [(torch.device("cpu"), 6, 2)]
    assert inside == ["in", "model", "out"] * 2


# Several samples of one prompt


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("stop", [None, 0])
def test_samples_are_those_of_a_prompt_given_several_times(use_cache, stop):
    model, idx = tiny_gpt(), random_ids(TINY, 2, 3)
    options = {"stop": stop, "use_cache": use_cache}
    shared = generate(model, idx, 8, num_samples=4, generator=seeded(), **options)
    again = generate(model, idx.repeat_interleave(4, 0), 8, generator=seeded(), **options)
    assert torch.equal(shared, again)
    assert len(set(map(tuple, shared[:4].tolist()))) == 4, "the samples are copies of one"


@pytest.mark.filterwarnings("ignore:.*pass the context")
@pytest.mark.parametrize("length", [3, SIZE, SIZE + 5])
def test_samples_may_pass_the_context(length):
    model, idx = tiny_gpt(), random_ids(TINY, 1, length)
    options = {"overflow": "slide", "top_k": 3}
    shared = generate(model, idx, 14, num_samples=3, generator=seeded(), **options)
    again = generate(model, idx.repeat(3, 1), 14, generator=seeded(), **options)
    assert torch.equal(shared, again)


def test_a_prompt_is_computed_once_for_all_its_samples(monkeypatch):
    model, shapes = tiny_gpt(), []
    hidden = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda idx, cache=None: shapes.append(idx.shape) or hidden(idx, cache)
    )
    generate(model, random_ids(TINY, 2, 5), 3, num_samples=4)
    assert shapes == [(2, 5), (8, 1), (8, 1)]


def test_no_new_tokens_are_as_many_rows():
    idx = random_ids(TINY, 2, 3)
    made = generate(tiny_gpt(), idx, 0, num_samples=2)
    assert torch.equal(made, idx[[0, 0, 1, 1]])


def test_samples_that_memory_cannot_hold_are_refused_before_any_work(monkeypatch):
    model, idx = tiny_gpt(), random_ids(TINY, 2, 5)
    row = 2 * 2 * 16 * (5 + 4) * 4 + 61 * 4  # keys and values: 2 layers, C = 16, fp32; its logits
    monkeypatch.setattr(cpu, "free_memory", lambda: 2 * 4 * row)
    assert generate(model, idx, 4, num_samples=4).shape == (8, 9)
    monkeypatch.setattr(cpu, "free_memory", lambda: 2 * 4 * row - 1)
    monkeypatch.setattr(model, "hidden", never)
    with pytest.raises(ValueError, match="num_samples=4 needs at least 0.0 GB .* ask for fewer"):
        generate(model, idx, 4, num_samples=4)


def test_a_window_bounds_what_is_held(monkeypatch):
    row = 2 * 2 * 16 * SIZE * 4 + 61 * 4
    monkeypatch.setattr(cpu, "free_memory", lambda: row)
    with pytest.warns(UserWarning, match="pass the context"):
        generate(tiny_gpt(), random_ids(TINY, 1, 5), 20, overflow="slide")


@pytest.mark.parametrize("n", [0, -1, 2.0, None])
def test_a_meaningless_number_of_samples_is_refused(n):
    with pytest.raises(ValueError, match="num_samples must be 1, 2, 3"):
        next(tokens(tiny_gpt(), torch.tensor([[1]]), 3, num_samples=n))


# The loop


def test_the_seed_decides():
    model, idx = tiny_gpt(), random_ids(TINY, 4, 2)
    a, b, c = (generate(model, idx, 9, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_draws_follow_the_distribution():
    model, idx = tiny_gpt(), torch.tensor([[1, 2]])
    with torch.no_grad():
        p = probabilities(model(idx)[0, -1], 0.7, top_k=4)
    drawn = generate(model, idx.expand(4000, 2), 1, temperature=0.7, top_k=4, generator=seeded())
    share = torch.bincount(drawn[:, -1], minlength=TINY.vocab_size) / 4000
    assert (share - p).abs().max() < 0.04  # five standard deviations of 4,000 draws


def test_a_finished_row_repeats_the_stop_token_and_all_finished_ends():
    model, idx = tiny_gpt(), random_ids(TINY, 8, 1)
    free = generate(model, idx, 10, temperature=0)[:, 1:]
    stop = free[0, 2].item()
    made = generate(model, idx, 10, temperature=0, stop=stop)[:, 1:]
    ends = [(row == stop).nonzero()[0].item() if stop in row else 10 for row in free]
    assert len(set(ends)) > 1, "the case is too easy"
    assert made.size(1) == min(10, max(ends) + 1)
    for row, expected, end in zip(made, free, ends, strict=True):
        assert torch.equal(row[: end + 1], expected[: end + 1][: made.size(1)])
        assert (row[end:] == stop).all()
    assert generate(model, idx[:1], 10, temperature=0, stop=stop).size(1) == 1 + ends[0] + 1


def test_the_stop_token_may_be_token_0():
    made = generate(Scripted([5, 0, 5, 5]), torch.tensor([[1]]), 4, **PLAIN, stop=0)
    assert made.tolist() == [[1, 5, 0]]


def test_no_new_tokens_returns_the_prompt():
    idx = random_ids(TINY, 2, SIZE)
    assert torch.equal(generate(tiny_gpt(), idx, 0), idx)


def never(*args):
    raise AssertionError("the model was asked although the call is refused")


@pytest.mark.parametrize(
    "idx, options, message",
    [
        (
            torch.zeros(1, 0, dtype=torch.long),
            {},
            r"shape \(B, T\), T at least 1.*<\|endoftext\|>, token 50256",
        ),
        (torch.zeros(0, 3, dtype=torch.long), {}, r"not \(0, 3\)"),
        (torch.tensor([1, 2]), {}, r"shape \(B, T\).*not \(2,\)"),
        (
            torch.tensor([[1, 61]]),
            {},
            "from 1 to 61, but the model knows 0 to 60.*another tokenizer",
        ),
        (torch.tensor([[-1, 2]]), {}, "from -1 to 2"),
        (torch.tensor([[1, 2]]), {"overflow": "drop"}, '"refuse" or "slide", not \'drop\''),
        (torch.tensor([[1] * 9]), {}, r'9 \+ 4 tokens pass the context of 12: .*overflow="slide"'),
        (torch.tensor([[1]]), {"temperature": -1}, "temperature"),
        (torch.tensor([[1]]), {"temperature": float("nan")}, "temperature"),
        (torch.tensor([[1]]), {"top_k": 0}, "top_k"),
        (torch.tensor([[1]]), {"top_p": 2}, "top_p"),
    ],
)
def test_refused_before_any_work(monkeypatch, idx, options, message):
    model = tiny_gpt()
    monkeypatch.setattr(model, "hidden", never)
    with pytest.raises(ValueError, match=message):
        generate(model, idx, 4, **options)


@pytest.mark.parametrize("n", [-1, 2.0, None])
def test_a_meaningless_number_of_tokens_is_refused(n):
    with pytest.raises(ValueError, match="max_new_tokens must be 0, 1, 2"):
        generate(tiny_gpt(), torch.tensor([[1]]), n)


def test_a_sliding_window_says_so_once():
    with pytest.warns(
        UserWarning, match=r"9 \+ 4 tokens pass the context of 12: the oldest"
    ) as caught:
        generate(tiny_gpt(), torch.tensor([[1] * 9]), 4, overflow="slide")
    assert len(caught) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_dropout_is_off_meanwhile(training):
    model, idx = tiny_gpt(dropout=0.5).train(training), random_ids(TINY, 1, 3)
    assert torch.equal(generate(model, idx, 6, temperature=0), greedy_by_hand(tiny_gpt(), idx, 6))
    assert model.training == model.h[0].mlp.training == training
    reader = tokens(model, idx, 6)
    next(reader)
    reader.close()  # a reader who has seen enough
    assert model.training == training
    model.ln_f.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # an error in the model itself
        generate(model, idx, 6)
    assert model.training == model.h[0].mlp.training == training
    model.ln_f._forward_hooks.clear()
    with pytest.raises(RuntimeError):  # an error in the middle: a generator of another device
        generate(model, idx, 6, generator=torch.Generator("meta"))
    assert model.training == training


def test_two_streams_of_one_model_do_not_disturb_each_other():
    model = tiny_gpt(dropout=0.5).train()
    alone = generate(model, torch.tensor([[1]]), 6, temperature=0)
    first = tokens(model, torch.tensor([[1]]), 2, temperature=0)
    second = tokens(model, torch.tensor([[1]]), 6, temperature=0)
    made = [next(first), next(second)]
    assert model.training, "between two tokens the model is the caller's"
    list(first)
    assert torch.equal(torch.stack([made[1], *second], 1), alone[:, 1:])
    assert model.training


def test_gradients_are_off_inside_and_untouched_outside():
    reader = tokens(tiny_gpt(), torch.tensor([[1]]), 3)
    assert not next(reader).requires_grad and torch.is_grad_enabled()


@pytest.mark.parametrize("temperature", [0, 1])
def test_what_was_generated_can_be_trained_on(temperature):
    model = tiny_gpt()
    token = next(tokens(model, torch.tensor([[1, 2]]), 3, temperature=temperature))
    model(token[:, None]).sum().backward()  # tensors made in inference mode refuse this


def test_a_bf16_model_generates():
    model, idx = tiny_gpt().bfloat16(), random_ids(TINY, 2, 3)
    made = generate(model, idx, 6, temperature=0)
    assert made.shape == (2, 9) and KVCache(model, 1, 1).layers[0].k.dtype == torch.bfloat16
    assert torch.equal(made[:, :4], greedy_by_hand(model, idx, 1))


# The stream


class Scripted(torch.nn.Module):
    """A model that says the given tokens one after the other, whatever it reads."""

    config = GPTConfig(n_layer=1, n_head=1, n_embd=1)

    def __init__(self, script):
        super().__init__()
        self.wte = torch.nn.Embedding(1, 1)
        self.script = iter(script)

    def hidden(self, idx, cache=None):
        return idx[..., None]

    def head(self, x):
        return torch.nn.functional.one_hot(torch.full((1,), next(self.script)), 50257).float()


PLAIN = {"temperature": 0, "use_cache": False}


def pieces(script, **options):
    options = PLAIN | options
    return list(stream(Scripted(script), get_tokenizer(), "Hi", len(script), **options))


def ids_of_single_bytes(text):
    return [get_tokenizer().encode_single_token(bytes([b])) for b in text.encode()]


def test_a_character_of_several_tokens_comes_whole():
    assert pieces(ids_of_single_bytes("aé🙂z")) == ["a", "é", "🙂", "z"]


def test_a_character_that_never_ends_is_marked_once():
    assert "".join(pieces(ids_of_single_bytes("a🙂")[:-1])) == "a\ufffd"


def test_an_id_beyond_the_vocabulary_has_no_text():
    script = [*ids_of_single_bytes("a"), 50_300, *ids_of_single_bytes("b")]
    model = Scripted(script)
    model.head = lambda x: torch.nn.functional.one_hot(torch.tensor([next(model.script)]), 50304)
    out = stream(model, get_tokenizer(), "Hi", 3, temperature=0, use_cache=False)
    assert "".join(out) == "a\ufffdb"


def test_the_stop_token_ends_the_stream_and_is_not_text():
    script = [*ids_of_single_bytes("ok"), 50256, *ids_of_single_bytes("no")]
    assert "".join(pieces(script, stop=50256)) == "ok"


@pytest.mark.parametrize("seed", range(3))
def test_the_stream_is_what_generate_makes(seed):
    model, tokenizer = tiny_gpt(vocab_size=50257, n_embd=8), get_tokenizer()
    prompt = tokenizer.encode_ordinary("Hello")
    made = generate(model, torch.tensor([prompt]), 10, generator=seeded(seed))[0, len(prompt) :]
    streamed = stream(model, tokenizer, "Hello", 10, generator=seeded(seed))
    assert "".join(streamed) == tokenizer.decode(made.tolist())


def test_an_empty_prompt_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"give <\|endoftext\|>"):
        next(stream(tiny_gpt(), get_tokenizer(), "", 3))


def test_the_next_tokens_logits_are_the_last_positions():
    model, ids = tiny_gpt(), random_ids(TINY, 1, 5)
    torch.testing.assert_close(next_logits(model, ids[0].tolist()), model(ids)[0, -1].detach())


@pytest.mark.parametrize(
    "prompt, ids", [("<|endoftext|>", [50256]), ("a<|endoftext|>", [64, 50256])]
)
def test_end_of_text_in_a_prompt_is_the_token(monkeypatch, prompt, ids):
    model, read = Scripted([0]), []
    monkeypatch.setattr(Scripted, "hidden", lambda self, idx, cache=None: read.append(idx) or idx)
    list(stream(model, get_tokenizer(), prompt, 1, temperature=0, use_cache=False))
    assert read[0].tolist() == [ids], "<|endoftext|> was read as seven tokens of text"
