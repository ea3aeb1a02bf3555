"""The symmetric contraction: many-body features as polynomials of the one-particle features.

Batatia et al. 2022 (arXiv 2206.07697) eqs. 10-11: B = Σ_η w_η Σ C_η A ⊗ A ⊗ ... symmetrised, with
the coefficients C of e3nn's basis of the symmetric power. The coefficients are symmetric in the
factors, so a sum over index tuples is a sum over sorted ones.
"""

import functools
import itertools
from typing import Any

import e3nn_jax as e3nn
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.nn.cueq import evaluate, segmented_polynomial
from electrojax.nn.initial import normal
from electrojax.typing import Array


class SymmetricContraction(nn.Module):
    """Equivariant polynomials of degree 1 ... correlation, with weights per species and path.

    Attributes:
        l_max: largest degree l of the input.
        l_out: largest degree l of the output.
        correlation: highest polynomial degree (body order minus one).
        kernels: "own", or "cuequivariance" for the same numbers, and parameters, through it.
    """

    l_max: int
    l_out: int
    correlation: int
    kernels: str = "own"

    @nn.compact
    def __call__(self, x: Array, one_hot: Array) -> tuple[Array, ...]:
        """Returns the features of each degree l = 0 ... l_out.

        Args:
            x: [M, N, C] one-particle features, M = (l_max + 1)² of parity (−1)^l.
            one_hot: [N, S], zero rows on padding.

        Returns:
            per l an array [2l + 1, N, C].
        """
        if self.kernels == "cuequivariance":
            return self._segmented(x, one_hot)
        first, second = np.triu_indices(x.shape[0])
        pairs = x[first] * x[second]
        return tuple(self._nested(x, pairs, one_hot, degree) for degree in range(self.l_out + 1))

    def _nested(self, x: Array, pairs: Array, one_hot: Array, degree: int) -> Array:
        """Evaluates ((T_ν x x + T_ν₋₁ x) x + T_ν₋₂ x) x + ...; each product closes one index."""
        order = self.correlation
        if order == 1:
            return self._term(x, one_hot, 1, degree)
        total = self._term(pairs, one_hot, order, degree, closed=2)
        total = total + self._term(x, one_hot, order - 1, degree)
        for lower in range(order - 2, 0, -1):
            total = jnp.sum(total * x, axis=-3) + self._term(x, one_hot, lower, degree)
        return total

    def _term(
        self, factors: Array, one_hot: Array, order: int, degree: int, closed: int = 1
    ) -> Array:
        """Returns one order with its last ``closed`` factors contracted, [2l + 1, M, ..., N, C]."""
        basis = nested_basis(self.l_max, order, degree, closed)
        weights = self._weights(order, degree, basis.shape[-2], factors, one_hot)
        weights = jnp.einsum("ns,spc->pnc", one_hot, weights)
        values = jnp.einsum("...pq,qnc->...pnc", jnp.asarray(basis, factors.dtype), factors)
        return jnp.sum(values * weights, axis=-3)

    def _segmented(self, x: Array, one_hot: Array) -> tuple[Array, ...]:
        """Evaluates all orders and degrees at once by cuEquivariance."""
        terms = _terms(self.l_out, self.correlation)
        paths = [symmetric_basis(self.l_max, *term).shape[-2] for term in terms]
        weights = [self._weights(*term, n, x, one_hot) for term, n in zip(terms, paths)]
        shape = (self.l_max, self.l_out, self.correlation, x.shape[-1])
        values = evaluate(_polynomial(*shape), jnp.concatenate(weights, axis=1), x, one_hot)
        return tuple(values[l**2 : (l + 1) ** 2] for l in range(self.l_out + 1))

    def _weights(self, order: int, degree: int, paths: int, x: Array, one_hot: Array) -> Array:
        """The parameters [S, paths, C] of one order and degree, for factors x [..., C]."""
        init, shape = normal(1.0 / max(paths, 1)), (one_hot.shape[-1], paths, x.shape[-1])
        return self.param(f"weights_{degree}_{order}", init, shape, x.dtype).astype(x.dtype)


def _terms(l_out: int, correlation: int) -> list[tuple[int, int]]:
    """Order and degree of every term, as the nested evaluation meets them.

    Initial values of parameters depend on the order in which they are made.
    """
    return [(order, l) for l in range(l_out + 1) for order in range(correlation, 0, -1)]


@functools.cache
def _polynomial(l_max: int, l_out: int, correlation: int, channels: int) -> Any:
    """The whole contraction as a segmented polynomial of cuEquivariance."""
    terms = _terms(l_out, correlation)
    blocks = [(degree**2, symmetric_basis(l_max, order, degree)) for order, degree in terms]
    return segmented_polynomial(blocks, (l_out + 1) ** 2, channels)


@functools.cache
def nested_basis(l_max: int, order: int, degree: int, closed: int) -> np.ndarray:
    """Returns the coefficients of equivariant polynomials with some factors listed as monomials.

    Args:
        l_max: the variables x are all (l', m) with l' <= l_max, of parity (−1)^l'.
        order: degree of the polynomials in x.
        degree: l of their output, of parity (−1)^l.
        closed: 1 if the last axis runs over the variables x_i, 2 if over the sorted pairs x_i x_j.

    Returns:
        [2l + 1, M, ..., paths, M or pairs] in float64, with order − closed axes M; coefficients
        stand at sorted index tuples only.
    """
    dense = symmetric_basis(l_max, order, degree)
    size = dense.shape[0]
    heads = list(itertools.combinations_with_replacement(range(size), closed))
    place = {head: index for index, head in enumerate(heads)}
    open_axes = (size,) * (order - closed)
    out = np.zeros((*open_axes, len(heads), *dense.shape[order:]))
    for index in itertools.combinations_with_replacement(range(size), order):
        split = order - closed
        out[(*index[:split], place[index[split:]])] = dense[index] * _orderings(index)
    return np.moveaxis(out, (-1, -3), (0, -1))


@functools.cache
def symmetric_basis(l_max: int, order: int, degree: int) -> np.ndarray:
    """Returns an orthonormal basis of the symmetric tensors that transform with one degree l.

    Args:
        l_max: each index runs over all (l', m) with l' <= l_max, of parity (−1)^l'.
        order: number of indices.
        degree: l of the output, of parity (−1)^l.

    Returns:
        [M, ..., M, paths, 2l + 1] in float64, M = (l_max + 1)².
    """
    irreps, keep = e3nn.s2_irreps(l_max), e3nn.Irrep(degree, (-1) ** degree)
    basis = e3nn.reduced_symmetric_tensor_product_basis(irreps, order, keep_ir=[keep])
    dense = np.asarray(basis.filter(keep=[keep]).array, dtype=np.float64)
    return dense.reshape(*dense.shape[:order], -1, 2 * degree + 1)


def _orderings(index: tuple[int, ...]) -> int:
    """Number of distinct orderings of an index tuple."""
    return len(set(itertools.permutations(index)))
