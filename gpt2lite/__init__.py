"""GPT-2 from scratch: the package that the gpt2-lite notebooks build up and import."""

from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.model import GPT
from gpt2lite.pretrained import CheckpointError

__version__ = "0.1.0"
__all__ = ["GPT", "SIZES", "CheckpointError", "GPTConfig"]
