"""Characters that nobody sees: control, direction and format characters of Unicode.

They come in names of files, runs and labels that others wrote, where they move the cursor of a
terminal or show a text in another order than it has (Boucher and Anderson, "Trojan Source", 2021).
"""

import unicodedata

LAYOUT = "\n\t"
"""Control characters of ordinary text of several lines."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (direction marks among them), surrogate, line, paragraph."""


def hidden_character(text: str, allowed: str = "") -> str:
    """Returns the name, such as U+202E, of the first character nobody sees; empty without any.

    Args:
        text: to look through.
        allowed: characters that may be there, such as `LAYOUT`.
    """
    if text.isascii() and text.isprintable():
        return ""
    for character in text:
        if character not in allowed and unicodedata.category(character) in _HIDDEN:
            return f"U+{ord(character):04X}"
    return ""


def cut(text: str, length: int = 200) -> str:
    """Returns a text with an ellipsis in place of what is beyond a length."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def visible(text: str, allowed: str = "") -> str:
    r"""Returns a text with every hidden character written as an escape such as \u202e.

    Args:
        text: to be shown.
        allowed: hidden characters that stay, such as `LAYOUT`.
    """
    if not hidden_character(text, allowed):
        return text
    return "".join(
        character.encode("unicode_escape").decode() if hidden_character(character, allowed) else
        character
        for character in text
    )  # fmt: skip
