"""The repulsion of nuclei at short distance, screened by their electrons."""

import jax
import jax.numpy as jnp

from electrojax.nn.distance import covalent_lengths
from electrojax.nn.radial import polynomial_envelope
from electrojax.system.types import System
from electrojax.typing import Array

SCREENING = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
LENGTH_PREFACTOR, BOHR, CHARGE_POWER = 0.4543, 0.529, 0.3
COULOMB_ZBL = 14.3996
"""eV·Å/e², as MACE has it: five digits, unlike the constant of our electrostatics."""


def zbl_energies(lengths: Array, system: System, power: int) -> Array:
    """Returns half of every pair's Ziegler-Biersack-Littmark energy at the atom an edge ends at.

    E = k Z_i Z_j/r · Σ_n c_n exp(−d_n r/a), a = 0.4543 · 0.529 Å / (Z_i^0.3 + Z_j^0.3): J. F.
    Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985), with the
    fitted a of MACE. It ends at the sum of the covalent radii.

    Args:
        lengths: [E] Å.
        system: a batch.
        power: p of the polynomial envelope.

    Returns:
        [N] eV.
    """
    dtype = lengths.dtype
    charges = system.numbers.astype(dtype)
    first, second = charges[system.senders], charges[system.receivers]
    envelope = polynomial_envelope(lengths, covalent_lengths(system, dtype), power)
    safe = jnp.where(lengths > 0, lengths, 1.0)
    u = safe * (first**CHARGE_POWER + second**CHARGE_POWER) / (LENGTH_PREFACTOR * BOHR)
    screening = sum(c * jnp.exp(-d * u) for c, d in SCREENING)
    pairs = 0.5 * COULOMB_ZBL * first * second / safe * screening * envelope
    return jax.ops.segment_sum(pairs, system.receivers, system.n_nodes, indices_are_sorted=True)
