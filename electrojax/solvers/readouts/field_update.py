"""Changes of an atom's multipoles read from its features, its potentials and its multipoles.

With h_l features of order l, x_l potentials and multipoles of that order in channels, z a vector of
the element, and gated(u) = W silu(W' u_0) for scalars, W (W' u_l · silu(W'' u_0)) beyond,

    m_l = W h_l + W' x_l,  d_l = ⟨h_l, m_l⟩,  g = MLP(d ⊕ h_0 ⊕ z),  u_l = g_l h_l ⊕ g'_l m_l,
    Δp_l = W'' u_l + gated(u)_l,

and Fukui weights are read from the scalars of g and of the gate. Source of the form: MACE-POLAR-1,
whose u_l has h_l alone and whose Δp_l the gate alone; without m_l an atom without neighbours has
no dipole in a field. Each product doubles the power of the potential, so that a few updates of
unlucky weights overflow: with a limit, g and Δp saturate smoothly.
"""

import flax.linen as nn
import jax.numpy as jnp

from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear, Perceptron, normalized_silu
from electrojax.typing import Array

Orders = tuple[Array, ...]
"""One array [N, 2l + 1, channels] per order l = 0, 1, ..."""


def by_order(values: Array) -> Orders:
    """Returns values [N, K, M] of K channels as one array [N, 2l + 1, K] per order."""
    l_max = round(values.shape[-1] ** 0.5) - 1
    swapped = jnp.swapaxes(values, 1, 2)
    return tuple(swapped[:, l * l : (l + 1) ** 2] for l in range(l_max + 1))


def saturate(values: Array, limit: float) -> Array:
    """Returns x/√(1 + |x|²/limit²), with |x| over the last axis but one: a norm below the limit.

    Args:
        values: [..., 2l + 1, K].
        limit: 0 for none.
    """
    if not limit:
        return values
    squares = jnp.sum((values / limit) ** 2, axis=-2, keepdims=True)
    return values / jnp.sqrt(1.0 + squares)


class MixedFeatures(nn.Module):
    """Features of every order up to l_max, mixed over layers.

    Attributes:
        l_max: highest order.
        channels: number of features per order.
    """

    l_max: int
    channels: int

    @nn.compact
    def __call__(self, features: Features) -> Orders:
        """Returns [N, 2l + 1, channels] per order; zero where no layer has the order."""
        orders = []
        for l in range(self.l_max + 1):
            blocks = jnp.concatenate([component(layer, l) for layer in features.layers], axis=-1)
            if not blocks.shape[-1]:
                blocks = jnp.zeros((*blocks.shape[:2], 1), blocks.dtype)
            orders.append(Linear(self.channels, name=f"degree_{l}")(blocks))
        return tuple(orders)


class Invariants(nn.Module):
    """Inner products ⟨h_l, W h_l + W' x_l⟩ of every order, and the second factor itself."""

    @nn.compact
    def __call__(self, mixed: Orders, values: Orders) -> tuple[Array, Orders]:
        """Returns [N, channels · (l_max + 1)] and [N, 2l + 1, channels] per order.

        Args:
            mixed: features h_l.
            values: x_l, in any number of channels.
        """
        inner, factors = [], []
        for l, (h, x) in enumerate(zip(mixed, values)):
            channels = h.shape[-1]
            factor = Linear(channels, name=f"values_{l}")(x)
            factor = factor + Linear(channels, name=f"features_{l}")(h)
            inner.append(jnp.sum(h * factor, axis=1) / (2 * l + 1))
            factors.append(factor)
        return jnp.concatenate(inner, axis=-1), tuple(factors)


class Gated(nn.Module):
    """Channels after an equivariant non-linearity: scalars gate themselves and the other orders.

    Attributes:
        channels: per order.
    """

    channels: int

    @nn.compact
    def __call__(self, values: Orders) -> Orders:
        """Returns [N, 2l + 1, channels] per order."""
        gates = Linear(self.channels * len(values), name="gates")(values[0])
        scalars, *rest = jnp.split(normalized_silu(gates), len(values), axis=-1)
        higher = [
            Linear(self.channels, name=f"degree_{l}")(x) * gate
            for l, (x, gate) in enumerate(zip(values[1:], rest), 1)
        ]
        return (scalars, *higher)


class FieldUpdate(nn.Module):
    """One update of the multipoles, with weights of its own.

    Attributes:
        channels: of the density, 1 or 2.
        hidden: widths of the perceptron.
        limit: of the norm of Δp, e·Å^l, and of gates; 0 for none.
        scale: size of the initial output.
    """

    channels: int
    hidden: tuple[int, ...] = (64, 64)
    limit: float = 10.0
    scale: float = 0.03

    @nn.compact
    def __call__(
        self, mixed: Orders, element: Array, potentials: Array, multipoles: Array
    ) -> tuple[Array, Array]:
        """Returns Δp [N, C, M] e·Å^l and unconstrained Fukui weights [N, C].

        Args:
            mixed: features h_l [N, 2l + 1, K].
            element: z [N, K''].
            potentials: [N, K', M], in units of about 1.
            multipoles: [N, C, M] e·Å^l.
        """
        values = by_order(jnp.concatenate([potentials, multipoles], axis=1))
        inner, factors = Invariants(name="invariants")(mixed, values)
        width, orders = mixed[0].shape[-1], len(mixed)
        inputs = jnp.concatenate([inner, mixed[0][:, 0], element], axis=-1)
        gates = Perceptron(self.hidden, (2 * orders + 1) * width, name="gates")(inputs)
        gates = saturate(gates[:, None], self.limit)
        scalars, *rest = jnp.split(gates, 2 * orders + 1, axis=-1)
        products = tuple(
            jnp.concatenate([rest[2 * l] * h, rest[2 * l + 1] * m], axis=-1)
            for l, (h, m) in enumerate(zip(mixed, factors))
        )
        gated = Gated(width, name="gated")(products)
        changes = [
            Linear(self.channels, self.scale, name=f"change_{l}")(jnp.concatenate(pair, axis=-1))
            for l, pair in enumerate(zip(products, gated))
        ]
        change = jnp.concatenate([saturate(x, self.limit) for x in changes], axis=1)
        weights = jnp.concatenate([scalars, gated[0]], axis=-1)[:, 0]
        return jnp.swapaxes(change, 1, 2), Linear(self.channels, name="fukui")(weights)


class FieldEnergy(nn.Module):
    """Per-atom energies of invariants of the features, the density and its potentials.

    Attributes:
        hidden: widths of the perceptron.
    """

    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, mixed: Orders, density: Array, potentials: Array) -> Array:
        """Returns [N] eV; zero where everything is.

        Args:
            mixed: features h_l [N, 2l + 1, K].
            density: [N, K', M].
            potentials: [N, K'', M].
        """
        charges, _ = Invariants(name="density")(mixed, by_order(density))
        fields, _ = Invariants(name="potentials")(mixed, by_order(potentials))
        inputs = jnp.concatenate([charges, fields], axis=-1)
        return Perceptron(self.hidden, 1, name="perceptron")(inputs)[:, 0]
