"""The waves of a mesh: their integer triples, k², and what a spline does to each."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.kernels.splines import MeshPlan, spline_transform
from electrojax.typing import Array

_HIGHEST = jax.lax.Precision.HIGHEST


def frequencies(plan: MeshPlan) -> list[np.ndarray]:
    """Returns the signed wave numbers of a real transform along each axis, shaped to broadcast."""
    first, second, third = plan.shape
    waves = [np.fft.fftfreq(first, 1 / first), np.fft.fftfreq(second, 1 / second)]
    waves = [np.rint(w) for w in (*waves, np.arange(third // 2 + 1))]
    return [w.reshape([-1 if i == axis else 1 for i in range(3)]) for axis, w in enumerate(waves)]


def inside(indices: list[np.ndarray], k_box: tuple[int, int, int]) -> np.ndarray:
    """Returns true for the waves of the k-box except k = 0."""
    inside = [np.abs(w) <= n for w, n in zip(indices, k_box)]
    zero = [w == 0 for w in indices]
    return inside[0] & inside[1] & inside[2] & ~(zero[0] & zero[1] & zero[2])


def squared_k(indices: list[np.ndarray], rows: Array) -> Array:
    """Returns |2π n A^{−T}|² [G, M1, M2, M3/2 + 1], of the rows of A^{−T} [G, 3, 3]."""
    # |n A^{−T}|² = Σ_ab n_a n_b (b_a · b_b): products of one-dimensional arrays, no triples.
    metric = jnp.einsum("gai,gbi->gab", rows, rows, precision=_HIGHEST)
    total = jnp.zeros((), rows.dtype)
    for a in range(3):
        for b in range(a, 3):
            product = jnp.asarray(indices[a] * indices[b] * (1.0 if a == b else 2.0), metric.dtype)
            total = total + metric[:, a, b, None, None, None] * product
    return (2.0 * math.pi) ** 2 * total


def deconvolution(plan: MeshPlan) -> np.ndarray:
    """Returns 1/b̃² on the half grid."""
    factors = []
    for axis, wave in enumerate(frequencies(plan)):
        transform = spline_transform(plan.shape[axis], plan.order)
        # Once for spreading, once for what is read back at the atoms.
        factors.append(transform[np.abs(wave).astype(int)] ** -2.0)
    return factors[0] * factors[1] * factors[2]
