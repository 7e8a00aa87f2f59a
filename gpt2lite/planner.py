"""What a training run will take, before it begins: time, memory, what the network carries, money.

Knows sizes and data sheets; no tensor is made. Which share of its peak a card reaches, its MFU, is
an input and never guessed here: measure it, or choose it by REACHED, on which the planner is
tested too. Sources: those of gpt2lite.accounting; Patarasuk and Yuan 2009, for what a ring
all-reduce sends; Li et al. 2020 (PyTorch DDP), for what hides behind the backward pass.
"""

import math
from dataclasses import dataclass
from statistics import median

from gpt2lite.accounting import PEAKS, T4_BYTES, count_parameters, forward_flops, training_bytes
from gpt2lite.config import SIZES, GPTConfig

BATCH = 2**19  # tokens of a step: GPT-3's half a million, which the published runs have too

# What a program gets of a card's memory, in bytes. A plan may fill ROOM of it: the rest is for what
# lives only for a moment, which accounting.training_bytes leaves out.
ROOM = 0.9
MEMORY = {"T4": T4_BYTES, "A100": int(80e9), "H100": int(80e9), "H200": int(141e9)}

# How fast GPT-2 small was trained: cards, how many, tokens / s together, and where that is said.
REACHED = {
    "gpt2 in fp16, T4": ("T4", 1, 17_900, "the project that this course grew from"),
    "nanoGPT, A100": ("A100", 1, 136_000, "nanoGPT, transformer_sizing.ipynb"),
    "build-nanogpt, A100": ("A100", 1, 182_000, "build-nanogpt"),
    "llm.c, 8 x A100": ("A100", 8, BATCH / 0.300, "llm.c, scripts/run_gpt2_124M.sh"),
    "llm.c, 8 x H100": ("H100", 8, BATCH / 0.140, "modded-nanogpt, its log of llm.c's run"),
    "ours, H200, B = 128": ("H200", 1, 490_337, "notebooks/recorded/gpu.json"),
}


@dataclass(frozen=True)
class Machine:
    """What trains: cards of one kind, and what is known or assumed of them."""

    name: str
    peak: float  # operations / s of one card
    mfu: float  # the share of it that training reaches
    count: int = 1
    memory: int | None = None  # bytes of one card
    bandwidth: float = math.inf  # bytes / s that a card sends to the next one
    price: float | None = None  # of a card, for an hour

    def __post_init__(self):
        if not 0 < self.mfu <= 1:
            raise ValueError(f"mfu={self.mfu} is no share of the peak: give one such as 0.4")
        if type(self.count) is not int or self.count < 1:
            raise ValueError(f"count must be a whole number of at least 1, not {self.count!r}")
        if not (self.peak > 0 and self.bandwidth > 0):
            raise ValueError(f"peak={self.peak} and bandwidth={self.bandwidth} must be above 0")


def card(name: str, mfu: float, count: int = 1, **known) -> Machine:
    """Return a machine of cards by their data sheet, in the format that they train fastest in."""
    if name not in MEMORY:
        raise ValueError(f"{name} is none of the cards: {', '.join(MEMORY)}")
    peak = max(PEAKS[name].get(kind, 0.0) for kind in ("fp32", "fp16", "bf16"))
    return Machine(name, peak, mfu, count, **({"memory": MEMORY[name]} | known))


def usual_mfu(name: str) -> float:
    """Return the MFU that GPT-2 small has REACHED on cards of a kind, the middle one of several."""
    speeds = [speed / count for kind, count, speed, _ in REACHED.values() if kind == name]
    return step_flops(SIZES["gpt2"], 1024, 1) * median(speeds) / card(name, 1.0).peak


def measured(name: str, config: GPTConfig, T: int, tokens_per_s: float) -> Machine:
    """Return a machine by the speed of a run: its peak is what that run reached, its MFU is 1."""
    return Machine(name, step_flops(config, T, 1) * tokens_per_s, 1.0)


def step_flops(config: GPTConfig, T: int, tokens: int) -> float:
    """Return the operations of a training step over `tokens`, in sequences of T."""
    return 3 * forward_flops(config, T)["total"] / T * tokens


def ring_bytes(n_bytes: int, devices: int) -> float:
    """Return the bytes that each device sends when `n_bytes` are added up over all (all-reduce)."""
    return 2 * (devices - 1) / devices * n_bytes


def step_seconds(flops, devices, peak, mfu, comm, micro_steps):
    """Return the seconds of a step whose gradients are sent while the last ones are computed.

    flops: of the whole step, on all devices together. comm: seconds that the network needs. Two
    thirds of the last of `micro_steps` passes are its backward, behind which sending hides.
    """
    compute = flops / (devices * peak * mfu)
    hidden = 2 / 3 * compute / micro_steps
    return compute + max(0.0, comm - hidden)


@dataclass(frozen=True)
class Plan:
    """What a run takes."""

    micro_steps: int  # passes of each card in a step
    step: float  # seconds
    sent: float  # bytes that each card sends in a step
    tokens_per_s: float
    hours: float
    bytes: int  # of memory on each card
    sharded: int  # the same if weights, gradients and AdamW's state are shared out (FSDP)
    cost: float | None  # in the price's currency

    def fits(self, machine: Machine) -> bool:
        """Say whether ROOM of a card's memory is enough; True where it isn't known."""
        return machine.memory is None or self.bytes <= ROOM * machine.memory


def plan(config: GPTConfig, machine: Machine, tokens: float, B: int, T=1024, batch=BATCH) -> Plan:
    """Plan a run over `tokens`, `batch` of them a step, B sequences of T on each card at a time.

    Memory is what accounting.training_bytes counts. Raises ValueError for a batch that the cards
    can't share evenly, and for numbers that no run has.
    """
    if not (min(B, batch) >= 1 and 1 <= T <= config.block_size and 1 <= tokens < math.inf):
        raise ValueError(
            f"B={B}, batch={batch} and tokens={tokens} must be at least 1, and T={T} in 1 to "
            f"{config.block_size}"
        )
    at_once = machine.count * B * T
    if batch % at_once:
        raise ValueError(
            f"batch={batch:,} tokens can't be shared by {machine.count} cards in passes of {B} x "
            f"{T}: choose a multiple of {at_once:,}"
        )
    micro_steps = batch // at_once
    sent = ring_bytes(4 * count_parameters(config)["total"], machine.count)
    flops = step_flops(config, T, batch)
    step = step_seconds(
        flops, machine.count, machine.peak, machine.mfu, sent / machine.bandwidth, micro_steps
    )
    hours = math.ceil(tokens / batch) * step / 3600
    held = training_bytes(config, B, T)
    shared = held["total"] - held["activations"]
    return Plan(
        micro_steps=micro_steps,
        step=step,
        sent=sent,
        tokens_per_s=batch / step,
        hours=hours,
        bytes=held["total"],
        sharded=held["activations"] + shared // machine.count,
        cost=None if machine.price is None else hours * machine.count * machine.price,
    )
