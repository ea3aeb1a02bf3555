"""Which quantity a name that is not read probably stands for."""

import difflib
from collections.abc import Collection

from electrojax.system.quantities import DEFAULT_KEYS, QUANTITIES

PREFIXES = ("ref", "dft", "true", "target", "qm")
"""What files put before the name of a label."""

SIMILARITY = 0.85
"""Least ratio of difflib at which two names are one with a slip of the pen."""


def near_quantity(name: str, quantities: Collection[str]) -> str | None:
    """Returns the quantity that a name in a file probably stands for, or None.

    Letter case, signs between words and prefixes such as ``dft_`` do not count; synonyms of the
    field do, and slips of the pen.

    Args:
        name: in the file.
        quantities: those of interest; a name that is nearer to another stands for none of them.
    """
    plain = _plain(name)
    near = difflib.get_close_matches(plain, MEANINGS, n=1, cutoff=SIMILARITY)
    quantity = MEANINGS.get(plain) or (MEANINGS[near[0]] if near else None)
    return quantity if quantity in quantities else None


def _plain(name: str) -> str:
    """Letters and digits in lower case, without the prefix of a label."""
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "".join(words[1:] if len(words) > 1 and words[0] in PREFIXES else words)


MEANINGS: dict[str, str] = {
    _plain(text): name
    for name in DEFAULT_KEYS
    for text in (*QUANTITIES[name].synonyms, QUANTITIES[name].key, name)
}
"""The quantity of each name in use, plain."""
