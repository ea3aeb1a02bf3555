"""What a file says about a structure beside inputs and labels: which curve it is a point of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

NUMBERS: dict[str, int] = {"distance": 1, "fragment_charges": 2, "image_charge": 1}
"""Tags that are numbers, and how many: ``distance`` in Å of what is pulled apart (or of an ion
above the image plane of a conductor), ``fragment_charges`` in e of the two parts far from each
other, ``image_charge`` in e of an ion above a conductor."""

TEXTS = ("system", "scan")
"""Tags that are texts: what the curve is of, and which of several curves of it this is."""

TAGS = (*TEXTS, *NUMBERS)


def read_tags(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tags of a structure that stands on a curve; none without system and distance.

    A value of another form is somebody else's use of the name, and is left alone.

    Args:
        info: of the frame, by name, as ``atoms.info``.
    """
    found: dict[str, Any] = {n: info[n] for n in TEXTS if isinstance(info.get(n), str)}
    for name, count in NUMBERS.items():
        value = np.asarray(info[name]) if name in info else np.zeros(0)
        if value.dtype.kind in "iuf" and value.size == count and np.all(np.isfinite(value)):
            found[name] = float(value.item()) if count == 1 else value.reshape(-1).astype(float)
    return found if {"system", "distance"} <= set(found) else {}
