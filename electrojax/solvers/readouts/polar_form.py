"""The networks of MACE-POLAR-1: field updates and field energies as its checkpoints have them.

With h_l features of order l, x_l potentials and multipoles of that order in channels, z a vector of
the element, ⟨·,·⟩ channel by channel, and LN-MLP a perceptron with layer norms,

    d_l = ⟨h_l, W h_l + W' x_l⟩,  g = LN-MLP(Σ_l W d_l ⊕ z),  u_l = g_l h_l,
    (Δp, f) = W gated(gated(u)),
    E_i = LN-MLP(⟨h, W (p + p⁰) + b⟩ ⊕ ⟨h, W' v + b'⟩),

where gated(u) has silu for scalars and sigmoid of scalars as factors beyond, h in the energy are
the last layer's features, and v in the energy the potentials that the last update saw. Source:
MACE-POLAR-1 as published with mace-torch 0.3.16.
"""

import flax.linen as nn
import jax.numpy as jnp

from electrojax.nn.biased import BiasedLinear, BiasedPerceptron
from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear, normalized_sigmoid, normalized_silu
from electrojax.solvers.readouts.field_update import Orders, by_order
from electrojax.typing import Array


def orders_of(features: Features) -> Orders:
    """Returns the last layer's features [N, 2l + 1, channels] of every order that it has."""
    last = features.layers[-1]
    return tuple(component(last, l) for l in range(last.irreps.lmax + 1))


class Products(nn.Module):
    """Inner products ⟨h_l, W x_l + W' h_l + b⟩/(2l + 1) of every order, one after the other.

    Attributes:
        of_features: whether there is a term W' h_l.
        bias: whether there is a constant b, for l = 0.
    """

    of_features: bool = False
    bias: bool = False

    @nn.compact
    def __call__(self, features: Orders, values: Orders) -> Array:
        """Returns [N, channels · orders].

        Args:
            features: h_l [N, 2l + 1, K].
            values: x_l, in any number of channels; of fewer orders, perhaps.
        """
        inner = []
        for l, h in enumerate(features if self.of_features else features[: len(values)]):
            channels, factor = h.shape[-1], jnp.zeros_like(h)
            if l < len(values):
                mixing = BiasedLinear if self.bias and l == 0 else Linear
                factor = mixing(channels, name=f"values_{l}")(values[l])
            if self.of_features:
                factor = factor + Linear(channels, name=f"features_{l}")(h)
            inner.append(jnp.sum(h * factor, axis=1) / (2 * l + 1))
        return jnp.concatenate(inner, axis=-1)


class SigmoidGated(nn.Module):
    """Channels after an equivariant non-linearity: silu for scalars, sigmoid gates beyond.

    Attributes:
        channels: per order.
        l_max: highest order of the output.
        bias: whether scalars get a constant before.
    """

    channels: int
    l_max: int
    bias: bool = False

    @nn.compact
    def __call__(self, values: Orders) -> Orders:
        """Returns [N, 2l + 1, channels] per order."""
        mixing = BiasedLinear if self.bias else Linear
        mixed = mixing(self.channels * (self.l_max + 1), name="scalars")(values[0])
        scalars, *gates = jnp.split(mixed, self.l_max + 1, axis=-1)
        higher = [
            Linear(self.channels, name=f"degree_{l}")(values[l]) * normalized_sigmoid(gate)
            for l, gate in enumerate(gates, 1)
        ]
        return (normalized_silu(scalars), *higher)


class PolarUpdate(nn.Module):
    """One update of the multipoles, with weights of its own.

    Attributes:
        channels: of the density, 1 or 2.
        hidden: widths of the perceptron.
        gated: channels per order between the gates.
        scale: size of the initial output.
    """

    channels: int
    hidden: tuple[int, ...] = (64, 64, 64)
    gated: int = 32
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
        inner = Products(of_features=True, name="products")(mixed, values)
        outputs = len(mixed) * mixed[0].shape[-1]
        gates = BiasedPerceptron(self.hidden, outputs, name="gates", layer_norm=True)(
            jnp.concatenate([inner, element], axis=-1)
        )
        parts = jnp.split(gates[:, None], len(mixed), axis=-1)
        moved = tuple(h * gate for h, gate in zip(mixed, parts))
        l_max = len(values) - 1
        moved = SigmoidGated(self.gated, l_max, name="gated_0")(moved)
        moved = SigmoidGated(self.gated, l_max, bias=True, name="gated_1")(moved)
        changes = [BiasedLinear(self.channels, self.scale, name="change_0")(moved[0])]
        for l, x in enumerate(moved[1:], 1):
            changes.append(Linear(self.channels, self.scale, name=f"change_{l}")(x))
        weights = BiasedLinear(self.channels, name="fukui")(moved[0][:, 0])
        return jnp.swapaxes(jnp.concatenate(changes, axis=1), 1, 2), weights


class PolarEnergy(nn.Module):
    """Per-atom energies of invariants of the features, the density and its potentials.

    Attributes:
        hidden: widths of the perceptron.
    """

    hidden: tuple[int, ...] = (128, 128, 128)

    @nn.compact
    def __call__(self, features: Orders, density: Array, potentials: Array) -> Array:
        """Returns [N] eV, of any size on padding.

        Args:
            features: h_l [N, 2l + 1, K].
            density: [N, K', M].
            potentials: [N, K'', M].
        """
        charges = Products(bias=True, name="density")(features, by_order(density))
        fields = Products(bias=True, name="potentials")(features, by_order(potentials))
        inputs = jnp.concatenate([charges, fields], axis=-1)
        return BiasedPerceptron(self.hidden, 1, name="perceptron", layer_norm=True)(inputs)[:, 0]
