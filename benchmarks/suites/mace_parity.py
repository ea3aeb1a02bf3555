"""Largest errors of energy, forces and stress against mace-torch, float64, at equal random weights.

The references are the golden files of tests/golden, which mace-torch wrote; torch is not needed.
PolarMACE models have a row against mace-torch with exact Coulomb sums, and one against it as
published, where what remains is the error of its own sums.
"""

from argparse import Namespace

import jax
import numpy as np

from tests.interop import mace_golden, polar_golden


def rows(options: Namespace) -> list[dict]:
    """Returns a row per architecture, two for those with charges."""
    with jax.enable_x64(True):
        plain = [_plain(case) for case in mace_golden.CASES if _wanted(case, options)]
        return plain + [
            _polar(case, against)
            for case in polar_golden.CASES
            for against in ("exact", "published")
            if _wanted(f"polar {case}", options)
        ]


def _wanted(model: str, options: Namespace) -> bool:
    return not options.only or options.only in model


def _plain(case: str) -> dict:
    largest = float(np.abs(mace_golden.read(case)[0]["forces"]).max())
    return {"model": case, "largest_force": largest, **mace_golden.errors(case)}


def _polar(case: str, against: str) -> dict:
    largest = float(np.abs(polar_golden.read(case)[0][f"{against}_forces"]).max())
    errors = polar_golden.errors(case, against)
    return {"model": f"polar {case}", "against": against, "largest_force": largest, **errors}
