"""Sums of monomials with weights through NVIDIA's cuEquivariance, for the symmetric contraction.

Its word for a sum of products of slices ("segments") of the operands, each with one coefficient
("path"), is a segmented polynomial. One kernel evaluates all of it on an NVIDIA GPU; elsewhere it
is plain JAX. Derivatives of any order are segmented polynomials again.
"""

import itertools
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import ConfigError
from electrojax.typing import Array

# A basis is found numerically: its zeros come as rounding errors, which would all cost a path.
NEGLIGIBLE = 1e-12

# One block of output components: where it begins, and the coefficients of one order.
Block = tuple[int, np.ndarray]


def require_cuequivariance() -> None:
    """Checks that the packages are there which this machine needs.

    Raises:
        ConfigError: without cuEquivariance, or on a GPU without its kernels.
    """
    if not (_installed("cuequivariance") and _installed("cuequivariance_jax")):
        raise ConfigError(
            'kernels "cuequivariance" needs packages that are not installed; '
            "run `pip install 'electrojax[cueq]'`, or set kernels: own"
        )
    if jax.default_backend() == "gpu" and not _installed("cuequivariance_ops_jax"):
        raise ConfigError(
            'kernels "cuequivariance" needs its kernels for this GPU, which are not installed; '
            "run `pip install cuequivariance-ops-jax-cu12` (or -cu13: the CUDA of your jax), "
            "or set kernels: own"
        )


def evaluate(polynomial: Any, weights: Array, x: Array, one_hot: Array) -> Array:
    """Returns the values of a polynomial with weights per species, [components, N, C].

    Args:
        polynomial: of ``segmented_polynomial``, with C channels.
        weights: [S, paths, C], those of the blocks one after the other.
        x: [M, N, C] variables.
        one_hot: [N, S], zero rows on padding, where the values are zero.
    """
    import cuequivariance_jax as cuex

    atoms, channels = x.shape[1:]
    # Padding reads the weights of the first species; its values are cleared below.
    species = jnp.argmax(one_hot, axis=-1).astype(jnp.int32)
    (out,) = cuex.segmented_polynomial(
        polynomial,
        [weights.reshape(len(weights), -1), jnp.moveaxis(x, 0, 1).reshape(atoms, -1)],
        [jax.ShapeDtypeStruct((atoms, -1), x.dtype)],
        [species, None, None],
        method="uniform_1d" if jax.default_backend() == "gpu" else "naive",
        name="symmetric_contraction",
    )
    real = jnp.sum(one_hot, axis=-1)[:, None]
    return jnp.moveaxis(out.reshape(atoms, -1, channels), 1, 0) * real


def segmented_polynomial(blocks: Iterable[Block], components: int, channels: int) -> Any:
    """Returns Σ_blocks Σ_paths w_path C_path x x ... as a ``cuequivariance.SegmentedPolynomial``.

    Its operands are weights [paths, channels], x [M, channels] and values [components, channels],
    all flattened.

    Args:
        blocks: per block its first component, and coefficients [M, ..., M, paths, width] symmetric
            in the factors x, which are as many as axes M.
        components: of the values.
        channels: of each operand; each channel is multiplied by itself only.
    """
    import cuequivariance as cue

    blocks = list(blocks)
    paths, size = sum(block.shape[-2] for _, block in blocks), blocks[0][1].shape[0]
    operands = [
        cue.SegmentedOperand(ndim=1, segments=[(channels,)] * count)
        for count in (paths, size, components)
    ]
    products: dict[int, Any] = {}
    before = 0
    for first, block in blocks:
        order = block.ndim - 2
        if order not in products:
            products[order] = _product(operands, order)
        _add_paths(products[order], block, before, first)
        before += block.shape[-2]
    operations = [((0, *[1] * order, 2), product) for order, product in products.items()]
    return cue.SegmentedPolynomial(operands[:2], operands[2:], operations)


def _product(operands: list[Any], order: int) -> Any:
    """Weights · x · ... · x → values of one order, without paths yet."""
    import cuequivariance as cue

    product = cue.SegmentedTensorProduct.from_subscripts("_".join("u" * (order + 2)))
    weights, x, values = operands
    for position, operand in enumerate((weights, *[x] * order, values)):
        product.set_operand(position, operand)
    return product


def _add_paths(product: Any, block: np.ndarray, weight: int, component: int) -> None:
    """Adds the monomials of a block whose weights and values begin at these places."""
    order = block.ndim - 2
    for index in itertools.combinations_with_replacement(range(block.shape[0]), order):
        orderings = len(set(itertools.permutations(index)))
        for path, m in zip(*np.nonzero(np.abs(block[index]) > NEGLIGIBLE)):
            coefficient = orderings * block[(*index, path, m)]
            product.add_path(weight + int(path), *index, component + int(m), c=coefficient)


def _installed(package: str) -> bool:
    return find_spec(package) is not None
