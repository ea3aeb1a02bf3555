"""Cardinal B-splines, and the mesh on which they represent Gaussians to a requested accuracy."""

import dataclasses
import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.kernels.gaussian import tail_exponent
from electrojax.typing import Array

ORDERS = range(4, 13)
"""Orders to choose from."""

MARGIN = (30.0, 15.0, 10.0)
"""By how much the estimated error stays below the requested one, by l_max: the estimate holds for
multipoles l_max without correlation, and screened long waves of charges make the true forces
smaller (as in tail_exponent)."""

_PROXY = 10
"""Waves along each axis of the proxy lattice in which errors are estimated."""

_RATIOS = np.concatenate([np.arange(1.0, 4.0, 0.05), np.arange(4.0, 16.0, 0.5)])


@dataclasses.dataclass(frozen=True)
class MeshPlan:
    """How densities are represented on a mesh, decided on the host.

    Attributes:
        shape: number of mesh points along each lattice vector.
        order: order of the B-spline; every atom touches order³ points.
    """

    shape: tuple[int, int, int]
    order: int


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def spline_weights(offset: Array, order: int, derivative: int) -> Array:
    """Returns a derivative of the cardinal B-spline at the points that an atom touches.

    M_n(x) = Σ_k (−1)^k C(n, k) (x − k)₊^{n−1} / (n − 1)! (Essmann, Perera, Berkowitz, Darden, Lee,
    Pedersen, J. Chem. Phys. 103, 8577 (1995), eq. 3.4), with n − 2 continuous derivatives; at every
    point it is a polynomial of the offset.

    Args:
        offset: [...] fractional part of the atom's mesh coordinate, in [0, 1).
        order: n.
        derivative: how many times it is differentiated.

    Returns:
        [..., order] values M_n^{(d)}(offset + n − 1 − t) at the points t = 0 ... n − 1.
    """
    if derivative >= order:
        return jnp.zeros((*offset.shape, order), offset.dtype)
    table = jnp.asarray(_coefficients(order, derivative), offset.dtype)
    centred = offset[..., None] - 0.5
    # Horner's rule in (offset − ½).
    values = jnp.broadcast_to(table[-1], (*offset.shape, order))
    for row in table[-2::-1]:
        values = values * centred + row
    return values


@spline_weights.defjvp
def _spline_derivative(
    order: int, derivative: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (offset,), (change,) = primals, tangents
    slope = spline_weights(offset, order, derivative + 1)
    return spline_weights(offset, order, derivative), slope * change[..., None]


@functools.lru_cache
def _coefficients(order: int, derivative: int) -> np.ndarray:
    """Of powers of (offset − ½), [order − derivative, order]: small, so that nothing cancels."""
    table = np.zeros((order, order))
    for t in range(order):
        for power in range(order):
            total = Fraction(0)
            # M_n at offset + n − 1 − t, from the truncated powers with a positive argument.
            for k in range(order - t):
                sign = (-1) ** k * math.comb(order, k) * math.comb(order - 1, power)
                total += sign * (order - t - k - Fraction(1, 2)) ** (order - 1 - power)
            table[power, t] = float(total / math.factorial(order - 1))
    for _ in range(derivative):
        table = table[1:] * np.arange(1, len(table))[:, None]
    return table


def spline_transform(points: int, order: int) -> np.ndarray:
    """Returns |Σ_t M_n e^{−2πi m t/M}| averaged over offsets, (sin(πm/M)/(πm/M))^n, m = 0 ... M/2.

    Args:
        points: M.
        order: n.
    """
    return np.sinc(np.arange(points // 2 + 1) / points) ** order


def mesh_plan(k_box: tuple[int, int, int], accuracy: float, l_max: int) -> MeshPlan:
    """Returns the mesh that represents the k-vectors of a box to a force error.

    Of the orders whose estimated error stays below ``accuracy``, it takes the one that costs
    least: order³ points for each atom, and about ten points for each atom and unit of the ratio³
    (Gaussians of 1-1.5 Å in liquids and crystals).

    Args:
        k_box: largest k-vector index along each reciprocal axis.
        accuracy: requested RMS error of the forces over the RMS force.
        l_max: highest multipole order.
    """
    order, ratio = _cheapest(min(max(k_box), _PROXY), accuracy, l_max)
    # All waves −n ... n must be on the mesh, whatever the ratio.
    sizes = [max(2 * n + 1, math.ceil(2 * ratio * n)) for n in k_box]
    return MeshPlan(tuple(smooth_size(n) for n in sizes), order)  # type: ignore[arg-type]


@functools.lru_cache
def _cheapest(waves: int, accuracy: float, l_max: int) -> tuple[int, float]:
    """The order and the ratio of mesh points to k-vectors; the densest mesh if none is enough."""
    best = (math.inf, ORDERS[-1], float(_RATIOS[-1]))
    # The energy of multipoles has l derivatives of the spline, and training needs two more.
    for order in [n for n in ORDERS if n >= l_max + 4]:
        # The cost grows with the ratio: the first that is accurate enough is the cheapest.
        for ratio in _RATIOS:
            cost = order**3 + 10.0 * ratio**3
            if cost >= best[0]:
                break
            if (
                MARGIN[l_max] * aliasing_error(order, float(ratio), waves, accuracy, l_max)
                < accuracy
            ):
                best = (cost, order, float(ratio))
                break
    return best[1:]


def aliasing_error(order: int, ratio: float, waves: int, accuracy: float, l_max: int) -> float:
    """Returns the estimated RMS force error of a spline mesh over the RMS force.

    A wave k on the mesh brings its images K = k + 2πm/h with the ratio of transforms τ_m, so that,
    for charges without correlation (|S|² white) and g = e^{−k²σ²}/k², squared forces of Σ g² k^{4l}
    k² come with errors of Σ g² τ_m² k^{2l} K^{2l} (k² + K²), as in the error analysis of M. Deserno
    and C. Holm, J. Chem. Phys. 109, 7694 (1998).

    Args:
        order: of the spline.
        ratio: mesh points over twice the number of waves.
        waves: number of waves along each axis of a cubic box up to the largest |k|.
        accuracy: that of the cutoff, which says how far the Gaussian has decayed there.
        l_max: highest multipole order.
    """
    index = np.arange(-waves, waves + 1) / waves
    alias = [(index + 2 * ratio * m, index / (index + 2 * ratio * m)) for m in (-2, -1, 1, 2)]
    x, y, z = np.meshgrid(index, index, index[waves:], indexing="ij", sparse=True)
    squared = x * x + y * y + z * z
    used = (squared > 0) & (squared <= 1 + 1e-9)
    safe = np.where(used, squared, 1.0)
    # In units of the largest |k|, whose square is k_1² + t/σ²; k_1 is one over the waves.
    decay = tail_exponent(accuracy, l_max) / max(1.0 - waves**-2, 0.2)
    weight = np.where(used, np.exp(-2.0 * decay * (safe - waves**-2)), 0.0) / safe**2
    reference = np.sum(weight * safe ** (2 * l_max + 1))
    error = 0.0
    for image, tau in alias:
        # K² of the image along x; y and z are the same by symmetry, hence the 3 below.
        far = image[:, None, None] ** 2 + y * y + z * z
        terms = (tau ** (2 * order))[:, None, None] * safe**l_max * far**l_max * (safe + far)
        error += 3.0 * np.sum(weight * terms)
    return float(np.sqrt(error / reference))


def smooth_size(minimum: int) -> int:
    """Returns the smallest number >= minimum with no prime factor above 7, fast to transform."""
    size = minimum
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
