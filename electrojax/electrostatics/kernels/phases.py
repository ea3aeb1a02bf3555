"""Structure factors from one-dimensional phases: tables of cosines and sines, and products."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.typing import Array

_HIGHEST = jax.lax.Precision.HIGHEST


def phases(fractional: Array, n_max: int) -> Array:
    """cos and sin of 2π n s, n = 0 ... n_max, as [G, A, 2, n_max + 1]."""
    turns = fractional[..., None] * jnp.arange(n_max + 1, dtype=fractional.dtype)
    angle = 2.0 * math.pi * (turns - jax.lax.stop_gradient(jnp.round(turns)))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-2)


def _both_signs(table: Array) -> Array:
    """[..., 2, n + 1] of n >= 0 to [..., 2, 2n + 1] of 0 ... n, −n ... −1."""
    flipped = table[..., :0:-1] * jnp.array([[1.0], [-1.0]], table.dtype)
    return jnp.concatenate([table, flipped], axis=-1)


def split_atoms(values: Array, blocks: int, atoms: int) -> Array:
    """[G, A, ...] to [blocks, G, atoms, ...], filled up with zeros."""
    missing = blocks * atoms - values.shape[1]
    padded = jnp.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
    return jnp.moveaxis(padded.reshape(values.shape[0], blocks, atoms, *values.shape[2:]), 1, 0)


def products(moments: Array, first: Array, second: Array, third: Array) -> Array:
    """Σ_i (n1, n2 phases with moments) × (n3 phases): [G, 2 (l + 1) n, 2 (n3 + 1)].

    The left factor is e^{i(θ1 + θ2)} times the coefficients of 1, n3 and n3² in q + i n·ν − n·N·n.
    The powers of n3 are multiplied later: k·μ costs one more product, not three, k·Θ·k two.
    """
    second = _both_signs(second)
    ca, sa = first[..., 0, :, None], first[..., 1, :, None]
    cb, sb = second[..., 0, None, :], second[..., 1, None, :]
    # e^{i(θ1 + θ2)} of all n1, n2 of one atom.
    phase = ca * cb - sa * sb, ca * sb + sa * cb
    n1, n2 = _signed_indices(first.shape[-1], second.shape[-1], first.dtype)
    parts = [
        part
        for factor in _polynomial(moments[..., None, None], n1, n2)
        for part in _times(factor, phase)
    ]
    left = jnp.stack(parts, axis=2).reshape(*moments.shape[:2], -1)
    # The one large operation: a matrix product that sums over the atoms.
    right = third.reshape(*third.shape[:2], -1)
    return jnp.einsum("gax,gay->gxy", left, right, precision=_HIGHEST)


_Complex = tuple[Array | None, Array | None]
"""Real and imaginary part; none where it is zero."""


def _polynomial(moments: Array, n1: Array, n2: Array) -> list[_Complex]:
    """Coefficients of n3⁰, n3¹ and n3² in q + i n·ν − n·N·n, as real and imaginary parts."""
    m = [moments[:, :, i] for i in range(moments.shape[2])]
    if len(m) == 1:
        return [(m[0], None)]
    slope = n1 * m[1] + n2 * m[2]
    if len(m) == 4:
        return [(m[0], slope), (None, m[3])]
    square = n1 * n1 * m[4] + n2 * n2 * m[5] + 2.0 * n1 * n2 * m[7]
    return [(m[0] - square, slope), (-2.0 * (n1 * m[8] + n2 * m[9]), m[3]), (-m[6], None)]


def _times(factor: _Complex, phase: tuple[Array, Array]) -> tuple[Array, Array]:
    (a, b), (real, imaginary) = factor, phase
    parts = [] if a is None else [(a * real, a * imaginary)]
    parts += [] if b is None else [(-b * imaginary, b * real)]
    first, *rest = parts
    return (first[0] + rest[0][0], first[1] + rest[0][1]) if rest else first


def _signed_indices(n1: int, n2: int, dtype: np.dtype) -> tuple[Array, Array]:
    """Indices 0 ... n in a column and 0 ... n, −n ... −1 in a row."""
    second = np.arange(n2)
    second = np.where(second > n2 // 2, second - n2, second)
    return jnp.arange(n1, dtype=dtype)[:, None], jnp.asarray(second, dtype)[None, :]


def unfold(summed: Array, tables: tuple[Array, ...]) -> Array:
    """Structure factors of +n3 and −n3 from the products of cosines and sines.

    (x + iy) e^{±iθ3} with x, y = left parts, of which there are as many as powers of ±n3.
    """
    counts = [t.shape[-1] for t in tables]
    shape = (-1, counts[0] * (2 * counts[1] - 1), 2, counts[2])
    parts = summed.reshape(summed.shape[0], *shape)
    index = jnp.arange(counts[2], dtype=summed.dtype)
    signs = []
    for sign in (1.0, -1.0):
        x, y = parts[:, 0], parts[:, 1]
        for power in range(1, parts.shape[1] // 2):
            scale = (sign * index) ** power
            x, y = x + scale * parts[:, 2 * power], y + scale * parts[:, 2 * power + 1]
        # (x + iy)(cos θ3 ± i sin θ3)
        real = x[:, :, 0] - sign * y[:, :, 1]
        imaginary = y[:, :, 0] + sign * x[:, :, 1]
        signs.append(jnp.stack([real, imaginary], axis=-1))
    return jnp.stack(signs, axis=1)
