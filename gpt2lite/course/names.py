"""Names tokens so that any font can show them.

Knows nothing about where a name is written.
"""

from gpt2lite.tokenizer import get_tokenizer


def token_names(ids: list[int]) -> list[str]:
    """Return each token's text; a space is "·", and what isn't Latin is escaped."""
    return [token_name(get_tokenizer().decode_single_token_bytes(i)) for i in ids]


def token_name(token: bytes) -> str:
    """Return a token's bytes as text; a space is "·", and what isn't Latin is escaped."""
    text = token.decode("utf-8", "backslashreplace").replace(" ", "·")
    plain = (c.isprintable() and c < "\u0250" for c in text)
    escaped = (c.encode("unicode_escape").decode() for c in text)
    return "".join(c if fine else e for c, fine, e in zip(text, plain, escaped, strict=True))
