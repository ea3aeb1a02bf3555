"""Largest errors of energy, forces and stress against mace-torch, float64, at equal random weights.

The references are the golden files of tests/golden, which mace-torch wrote; torch is not needed.
"""

from argparse import Namespace

import jax
import numpy as np

from tests.nn.mace_golden import CASES, errors, read


def rows(options: Namespace) -> list[dict]:
    """Returns a row per architecture."""
    found = []
    with jax.enable_x64(True):
        for case in CASES:
            if not options.only or options.only in case:
                largest = float(np.abs(read(case)[0]["forces"]).max())
                found.append({"model": case, "largest_force": largest, **errors(case)})
    return found
