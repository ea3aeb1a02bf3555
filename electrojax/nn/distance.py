"""Transforms of edge lengths that resolve each pair of elements on its own scale."""

import functools

import jax.numpy as jnp
import numpy as np

from electrojax.errors import ConfigError
from electrojax.system.types import System
from electrojax.typing import Array

TRANSFORMS = ("none", "agnesi", "soft")
AGNESI_Q, AGNESI_P, AGNESI_A = 0.9183, 4.5791, 1.0805
SOFT_STEEPNESS = 4.0


@functools.cache
def covalent_radii() -> np.ndarray:
    """Returns covalent radii by atomic number in Å (Cordero et al. 2008, 10.1039/b801115j)."""
    from ase.data import covalent_radii as radii

    return np.asarray(radii, dtype=np.float64)


def covalent_lengths(system: System, dtype: np.dtype) -> Array:
    """Returns the sum of the covalent radii of the two atoms of every edge, [E] Å."""
    radii = jnp.asarray(covalent_radii(), dtype)[system.numbers]
    return radii[system.senders] + radii[system.receivers]


def transform_distance(name: str, lengths: Array, system: System) -> Array:
    """Returns edge lengths as a radial basis is to see them.

    Args:
        name: ``none``, ``agnesi`` or ``soft``.
        lengths: [E] Å.
        system: a batch; the elements of each edge set the scale.

    Raises:
        ConfigError: for a transform that does not exist.
    """
    if name not in TRANSFORMS:
        raise ConfigError(f'distance_transform "{name}" does not exist; choose from {TRANSFORMS}')
    if name == "none":
        return lengths
    bonds = covalent_lengths(system, lengths.dtype)
    return agnesi(lengths, bonds) if name == "agnesi" else soft(lengths, bonds)


def agnesi(lengths: Array, bonds: Array) -> Array:
    """Returns 1 / (1 + a u^q / (1 + u^(q − p))), u = 2 r/b: from 1 at r = 0 down to 0.

    Witt et al. 2023, 10.1063/5.0158783, sec. "radial transformations", with the constants of
    MACE. Both powers are multiplied by u^(p − q), so that u = 0 is a regular point.

    Args:
        lengths: [E] r in Å.
        bonds: [E] b, sum of the covalent radii in Å.
    """
    u = 2.0 * lengths / bonds
    return 1.0 / (1.0 + AGNESI_A * u**AGNESI_P / (1.0 + u ** (AGNESI_P - AGNESI_Q)))


def soft(lengths: Array, bonds: Array) -> Array:
    """Returns p + (r − p) (1 + tanh(s (r − m)))/2 in Å: p = 3b/4 far inside a bond, r outside.

    The step at the middle m of 3b/4 and 4b/3 has the slope s = 4/(4b/3 − 3b/4); MACE's form.

    Args:
        lengths: [E] r in Å.
        bonds: [E] b, sum of the covalent radii in Å.
    """
    inner, outer = 0.75 * bonds, 4.0 / 3.0 * bonds
    steepness = SOFT_STEEPNESS / (outer - inner)
    step = 0.5 * (1.0 + jnp.tanh(steepness * (lengths - 0.5 * (inner + outer))))
    return inner + (lengths - inner) * step
