"""GPT-2's byte-level BPE, built from its own merge table, without a download at run time.

The 50,000 merges in `vocab.bpe` are the whole vocabulary. Ids 0 to 255 are the single bytes, in the
order of `byte_to_unicode`; each merge then adds the next id; 50256 is `<|endoftext|>`.

Knows nothing about models or corpora. Sources: Radford et al. 2019, section 2.2, and OpenAI's
gpt-2/src/encoder.py, whose vocab.bpe this is, byte for byte.
"""

import functools
import hashlib
import json
from pathlib import Path

import tiktoken

from gpt2lite.assets import AssetError, replacing

END_OF_TEXT = 50256

# Merges never cross these pieces: a contraction, a word, a number or punctuation (each with the one
# space before it), or white space. Possessive `++` matches what GPT-2's own pattern does, faster.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

VOCAB_FILE = Path(__file__).with_name("vocab.bpe")
VOCAB_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def byte_to_unicode() -> dict[int, str]:
    """Map each of the 256 bytes to the printable character that stands for it in `vocab.bpe`.

    Printable Latin-1 bytes stand for themselves and come first; the other 68 become the characters
    from U+0100 on (a space is "Ġ"). The order of this dict is the order of ids 0 to 255.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    hidden = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(hidden)}


def read_merges() -> list[tuple[bytes, bytes]]:
    """Read GPT-2's 50,000 merges, first learned first: pairs of byte strings that become one token.

    Raises AssetError if the file is not, byte for byte, the published one.
    """
    table = VOCAB_FILE.read_bytes()
    digest = hashlib.sha256(table).hexdigest()
    if digest != VOCAB_SHA256:
        raise AssetError(
            f"{VOCAB_FILE} is not GPT-2's merge table (sha256 {digest}, expected {VOCAB_SHA256}): "
            "reinstall gpt2lite or, in a checkout, run `git checkout gpt2lite/vocab.bpe`"
        )
    to_latin1 = str.maketrans({char: chr(byte) for byte, char in byte_to_unicode().items()})
    _version, *lines = table.decode("utf-8").rstrip("\n").split("\n")
    pairs = (line.split(" ") for line in lines)
    return [
        (left.translate(to_latin1).encode("latin-1"), right.translate(to_latin1).encode("latin-1"))
        for left, right in pairs
    ]


@functools.cache
def get_tokenizer() -> tiktoken.Encoding:
    """Build GPT-2's tokenizer (once a process). `encode_ordinary` treats all text as text.

    Raises AssetError if the merge table is damaged.
    """
    tokens = [bytes([byte]) for byte in byte_to_unicode()]
    tokens += [left + right for left, right in read_merges()]
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=50257,
        pat_str=PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={"<|endoftext|>": END_OF_TEXT},
    )


def save_tokenizer(folder) -> None:
    """Write the tokenizer's files beside a model's, so that transformers finds both in `folder`.

    Raises AssetError if they can't be written; then what was there before is whole.
    """
    names = byte_to_unicode()
    tokens = map(get_tokenizer().decode_single_token_bytes, range(END_OF_TEXT))
    vocabulary = {"".join(map(names.get, token)): i for i, token in enumerate(tokens)}
    vocabulary["<|endoftext|>"] = END_OF_TEXT
    files = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")).encode(),
        "merges.txt": VOCAB_FILE.read_bytes(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "GPT2Tokenizer"}).encode(),
    }
    try:
        with replacing(Path(folder), list(files)) as partial:
            for name, content in files.items():
                (partial / name).write_bytes(content)
    except OSError as error:
        raise AssetError(
            f"cannot write the tokenizer into {folder} ({error}): make room there, or name another "
            "folder"
        ) from error
