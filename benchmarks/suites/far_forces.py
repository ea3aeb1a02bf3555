"""Force between two far molecules over Coulomb's of their own densities, of every kind.

OHH and OOH with random weights (those of the conformance tests), float64, open boundary, total
charge 1 or 0; with fragments their charges are 1 and 0.5 e, or 0 and 0. Ratios along the line
between them; deviation_times_r is (ratio − 1) R: the same at 80 and 160 Å where it decays as 1/R.
"""

from argparse import Namespace

import jax
import numpy as np

from tests.conformance.far import PAIRS, deviations, pair
from tests.conformance.models import ABLATIONS, SOLVERS

FRAGMENTS = [pair(40.0, 1.0, 0.5), pair(80.0, 1.0, 0.5), pair(160.0, 1.0, 0.5), pair(40.0, 0.0)]
SAME = ("none", "local-free", "latent-channels", "qeq-cg", "qeq-potential")
"""Without charges, without one density, or with the charges of another row."""


def rows(options: Namespace) -> list[dict]:
    """Returns a row per kind of solver."""
    found = []
    with jax.enable_x64(True):
        for name in [*SOLVERS, *ABLATIONS]:
            if name not in SAME and (not options.only or options.only in name):
                found.append(row(name, FRAGMENTS if "fragments" in name else PAIRS))
                print(found[-1], flush=True)
    return found


def row(name: str, pairs: list) -> dict:
    """One line of the table."""
    deviation, multipoles = deviations(name, pairs)
    charges = multipoles[:, :3, 0].sum(axis=1)
    ratios = {f"ratio_{r}": 1.0 + float(d) for r, d in zip((40, 80, 160), deviation)}
    return {
        "solver": name,
        **ratios,
        "deviation_times_r_80": 80.0 * float(deviation[1]),
        "deviation_times_r_160": 160.0 * float(deviation[2]),
        "ratio_neutral_40": 1.0 + float(deviation[3]),
        "charge_of_first": float(charges[2]),
        "charge_of_first_neutral": float(np.round(charges[3], 12)),
    }
