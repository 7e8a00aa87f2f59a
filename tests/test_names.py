"""Names of tokens can be shown in any font."""

from gpt2lite.course.names import token_names
from gpt2lite.tokenizer import get_tokenizer


def test_what_no_font_shows_is_escaped():
    ids = get_tokenizer().encode_ordinary(" be\nnaïve 東и")
    assert token_names(ids) == ["·be", "\\n", "na", "ïve", "·\\xe6", "\\x9d", "\\xb1", "\\u0438"]
