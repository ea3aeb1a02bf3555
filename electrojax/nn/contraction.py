"""The symmetric contraction: many-body features as polynomials of the one-particle features.

Batatia et al. 2022 (arXiv 2206.07697) eqs. 10-11: B = Σ_η w_η Σ C_η A ⊗ A ⊗ ... symmetrised, with
the coefficients C of e3nn's basis of the symmetric power. The coefficients are symmetric in the
factors, so a sum over index tuples is a sum over monomials: one small matrix times all of them.
"""

import functools
import itertools
import math

import e3nn_jax as e3nn
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.nn.initial import normal
from electrojax.typing import Array


class SymmetricContraction(nn.Module):
    """Equivariant polynomials of degree 1 ... correlation, with weights per species and path.

    Attributes:
        l_max: largest degree l of the input.
        l_out: largest degree l of the output.
        correlation: highest polynomial degree (body order minus one).
    """

    l_max: int
    l_out: int
    correlation: int

    @nn.compact
    def __call__(self, x: Array, one_hot: Array) -> tuple[Array, ...]:
        """Returns the features of each degree l = 0 ... l_out.

        Args:
            x: [M, N, C] one-particle features, M = (l_max + 1)² of parity (−1)^l.
            one_hot: [N, S], zero rows on padding.

        Returns:
            per l an array [2l + 1, N, C].
        """
        orders = range(1, self.correlation + 1)
        weights = [
            [self._weights(order, degree, x, one_hot) for degree in range(self.l_out + 1)]
            for order in orders
        ]
        totals: list[Array] = []
        for order, products, weight in zip(orders, monomials(x, self.correlation), weights):
            terms = self._terms(order, products, weight)
            totals = [t + u for t, u in zip(totals, terms)] if totals else terms
        return tuple(totals)

    def _weights(self, order: int, degree: int, x: Array, one_hot: Array) -> Array:
        """The weights of one order and degree at every atom, [paths, N, C]."""
        paths = symmetric_basis(self.l_max, order, degree).shape[-2]
        shape = (one_hot.shape[-1], paths, x.shape[-1])
        init = normal(1.0 / max(paths, 1))
        weights = self.param(f"weights_{degree}_{order}", init, shape, x.dtype).astype(x.dtype)
        return jnp.einsum("ns,spc->pnc", one_hot, weights)

    def _terms(self, order: int, products: Array, weights: list[Array]) -> list[Array]:
        """The polynomials of one order, per degree [2l + 1, N, C]."""
        bases = [monomial_basis(self.l_max, order, degree) for degree in range(self.l_out + 1)]
        stacked = np.concatenate([b.reshape(-1, b.shape[-1]) for b in bases])
        values = jnp.einsum("rq,qnc->rnc", jnp.asarray(stacked, products.dtype), products)
        parts = jnp.split(values, np.cumsum([b.shape[0] * b.shape[1] for b in bases])[:-1])
        shaped = [p.reshape(*b.shape[:2], *p.shape[1:]) for p, b in zip(parts, bases)]
        return [jnp.sum(p * w, axis=1) for p, w in zip(shaped, weights)]


def monomials(x: Array, order: int) -> list[Array]:
    """Returns the products of 1 ... order variables, in the order of :func:`index_tuples`.

    Args:
        x: [M, ...] variables.
        order: the largest number of factors.

    Returns:
        per order [C(M + order − 1, order), ...].
    """
    found = [x]
    for lower in range(1, order):
        # Those with no index above k come first, C(k + lower, lower) of them.
        heads = [found[-1][: math.comb(k + lower, lower)] * x[k] for k in range(x.shape[0])]
        found.append(jnp.concatenate(heads))
    return found


def index_tuples(size: int, order: int) -> list[tuple[int, ...]]:
    """Returns the ascending index tuples, ordered by their last index, then the one before, ..."""
    tuples = itertools.combinations_with_replacement(range(size), order)
    return sorted(tuples, key=lambda index: index[::-1])


@functools.cache
def monomial_basis(l_max: int, order: int, degree: int) -> np.ndarray:
    """Returns the coefficients of equivariant polynomials at monomials.

    Args:
        l_max: the variables x are all (l', m) with l' <= l_max, of parity (−1)^l'.
        order: degree of the polynomials in x.
        degree: l of their output, of parity (−1)^l.

    Returns:
        [2l + 1, paths, monomials] in float64, monomials as in :func:`index_tuples`.
    """
    dense = symmetric_basis(l_max, order, degree)
    tuples = index_tuples(dense.shape[0], order)
    columns = [dense[index] * _orderings(index) for index in tuples]
    return np.moveaxis(np.stack(columns), (0, 2), (2, 0))


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
