"""Which long waves of a structure are worth inverting exactly: by its length, density, hardness."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import lambertw

from electrojax.electrostatics.kernels.gaussian import tail_exponent
from electrojax.errors import ConfigError
from electrojax.system.geometry import reciprocal, volume
from electrojax.system.layout import GraphLayout, graph_layout
from electrojax.system.slabs import open_axis
from electrojax.system.types import System
from electrojax.typing import Array
from electrojax.units import COULOMB

RATIO = 0.5
"""Of A to H where the waves are cut off: conjugate gradients then need some ten steps."""

WORTH = 20.0
"""Of A to H for the longest wave: with less, the inverse diagonal alone needs as few steps."""

SOFTEST = 0.1
"""eV/e², the hardness down to which there is room for the waves that it wants."""

TYPICAL = 8.0
"""eV/e²: where the longest wave is not worth it at this hardness, no program is made for it."""

LAYER = 2.0
"""Å, what the outermost layer adds to the thickness of a slab between its atoms."""


def long_waves_matter(operator: Any, system: System, width: float, accuracy: float = 1e-5) -> bool:
    """Returns, on the host, whether structures are so long that a program should hold long waves.

    Steps of the inverse diagonal grow as the root of A/H of the longest wave, 4π k_e n (L/2π)²/h.
    The length L and the density n are those of the k-box; h is TYPICAL.

    Args:
        operator: of the structures.
        system: the batch; its numbers may be traced.
        width: σ of the density, Å.
        accuracy: of the engine.
    """
    if system.boundary == "open":
        return False
    lengths, density = _planned_size(system, wave_reach(operator, width, accuracy))
    return _longest_ratio(density, max(lengths), TYPICAL) > WORTH


def wanted_cutoff(system: System, hardness: Array, sigma: Array) -> Array:
    """Returns the cutoff [G] in 1/Å of the waves that structures want, zero where it is none.

    Args:
        system: the batch as it is summed.
        hardness: [G, A] of charges in the dense layout, eV/e².
        sigma: [G] σ, Å.
    """
    layout = graph_layout(system)
    typical = jnp.nanmedian(jnp.where(layout.mask, hardness, jnp.nan), axis=1)
    typical = jnp.where(jnp.isfinite(typical), typical, TYPICAL)
    cell = system.cell
    density = jnp.sum(layout.mask, axis=1) / _filled_volume(system, layout)
    longest = 1.0 / jnp.min(jnp.linalg.norm(reciprocal(cell), axis=-1), axis=-1)
    worth = _longest_ratio(density, longest, typical) > WORTH
    return jnp.where(worth, wave_cutoff(typical, density, sigma), 0.0)


def wave_cutoff(
    hardness: float | Array,
    atoms_per_volume: float | Array,
    width: float | Array,
    ratio: float = RATIO,
) -> Array:
    """Returns the k in 1/Å from which A is less than some times H.

    A has the eigenvalue 4π k_e n e^{−k²σ²}/k² for a wave in n disordered atoms per volume, and
    conjugate gradients need about 8 √(1 + ratio) steps for six digits of what is left.

    Args:
        hardness: a typical diagonal element of H for charges, eV/e².
        atoms_per_volume: n in 1/Å³.
        width: σ of the density in Å.
        ratio: of A to H at the cutoff.
    """
    goal = jnp.asarray(4.0 * math.pi * COULOMB * atoms_per_volume / (ratio * hardness))
    # x e^{xσ²} = goal for x = k²: Newton's method for ln x + xσ² = ln goal, from below.
    spread = jnp.asarray(width) ** 2
    x = goal / (1.0 + goal * spread)
    for _ in range(6):
        x = x * (1.0 - (jnp.log(x / goal) + x * spread) / (1.0 + x * spread))
    return jnp.sqrt(x)


def softest_cutoff(system: System, reach: float, width: Any) -> float:
    """Returns, on the host, the cutoff in 1/Å that the softest atoms would want.

    Args:
        system: the batch; its numbers may be traced.
        reach: k in 1/Å up to which the k-box holds vectors.
        width: σ of the density, Å; taken as zero where it is not one known number.
    """
    width = float(width) if isinstance(width, float | int) else 0.0
    density = _planned_size(system, reach)[1]
    goal = 4.0 * math.pi * COULOMB * density / (RATIO * SOFTEST)
    square = float(lambertw(goal * width**2).real) / width**2 if width > 0 else goal
    return math.sqrt(square)


def wave_reach(operator: Any, width: float | Array, accuracy: float) -> float:
    """Returns the k in 1/Å up to which the k-box of an operator holds vectors.

    Raises:
        ConfigError: if the width is traced, or differs from atom to atom.
    """
    sharpest = getattr(operator_chain(operator)[-1], "split", width)
    if isinstance(sharpest, jax.core.Tracer) or np.ndim(sharpest):
        raise ConfigError(
            "a preconditioner of long waves needs the width as one known number; got an array"
        )
    return math.sqrt(tail_exponent(accuracy, 0)) / float(sharpest)


def operator_chain(operator: Any) -> list[Any]:
    """Returns the operator and what it corrects, the innermost sum last."""
    chain = [operator]
    while hasattr(chain[-1], "bulk"):
        chain.append(chain[-1].bulk)
    return chain


def _longest_ratio(density: Any, length: Any, hardness: Any) -> Any:
    """A/H of a wave as long as the structure, 4π k_e n (L/2π)²/h."""
    return COULOMB * density * length**2 / (math.pi * hardness)


def _filled_volume(system: System, layout: GraphLayout) -> Array:
    """The volume [G] in Å³ that atoms fill: of a slab, its thickness and a layer more."""
    cell = system.cell
    if system.boundary != "slab":
        return volume(cell)
    normal, height = open_axis(cell, system.normal)
    along = jnp.einsum("gax,gx->ga", layout.dense(system.positions), normal)
    top, bottom = (jnp.where(layout.mask, x, -jnp.inf).max(axis=1) for x in (along, -along))
    filled = jnp.clip(top + bottom + LAYER, LAYER, height)
    return volume(cell) * filled / height


def _planned_size(system: System, reach: float) -> tuple[list[float], float]:
    """Lengths in Å and atoms per Å³ that a k-box and the number of atoms speak of."""
    lengths = [2.0 * math.pi * max(n, 1) / reach for n in system.k_box]
    return lengths, system.graph_nodes / math.prod(lengths)
