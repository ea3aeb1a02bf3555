"""Which quantity a name that is not read probably stands for."""

import difflib
from collections.abc import Iterable

from electrojax.system.quantities import QUANTITIES

PREFIXES = ("ref", "dft", "true", "target", "qm")
"""What files put before the name of a label."""

SIMILARITY = 0.85
"""Least ratio of difflib at which two names are one with a slip of the pen."""


def near_quantity(name: str, quantities: Iterable[str]) -> str | None:
    """Returns the quantity that a name in a file probably stands for, or None.

    Letter case, signs between words and prefixes such as ``dft_`` do not count; synonyms of the
    field do, and slips of the pen.

    Args:
        name: in the file.
        quantities: names of the quantities that it may stand for.
    """
    meanings = {
        _plain(text): quantity
        for quantity in quantities
        for text in (*QUANTITIES[quantity].synonyms, QUANTITIES[quantity].key, quantity)
    }
    plain = _plain(name)
    if plain in meanings:
        return meanings[plain]
    near = difflib.get_close_matches(plain, meanings, n=1, cutoff=SIMILARITY)
    return meanings[near[0]] if near else None


def _plain(name: str) -> str:
    """Letters and digits in lower case, without the prefix of a label."""
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "".join(words[1:] if len(words) > 1 and words[0] in PREFIXES else words)
