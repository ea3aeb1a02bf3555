"""From features to per-atom energies and multipoles."""

import e3nn_jax as e3nn
import flax.linen as nn
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear, Perceptron
from electrojax.typing import Array


class EnergyReadout(nn.Module):
    """Per-atom energies: linear in each layer's scalars, a perceptron of the last layer's.

    Batatia et al. 2022 (arXiv 2206.07697) eq. 13. No bias, so padding rows give zero.

    Attributes:
        hidden: width of the perceptron.
    """

    hidden: int = 16

    @nn.compact
    def __call__(self, features: Features) -> Array:
        """Returns [N] dimensionless energies; the data set's scale is applied outside.

        Args:
            features: of every layer.
        """
        scalars = [component(layer, 0)[:, 0, :] for layer in features.layers]
        last = len(scalars) - 1
        energy = Perceptron((self.hidden,), 1, name=f"layer_{last}")(scalars[last])
        for index, x in enumerate(scalars[:-1]):
            energy = energy + Linear(1, name=f"layer_{index}")(x)
        return sum(features.energies, start=energy[:, 0])


class MultipoleReadout(nn.Module):
    """Per-atom multipoles Σ_s Linear_s(h^(s)), a sum over layers.

    Attributes:
        irreps_out: one irrep per degree with natural parity, such as ``1x0e+1x1o``.
        initial_scale: typical size of the initial output for features of unit variance. Small, so
            that Coulomb energies start small; not zero, since an energy quadratic in the
            multipoles has no gradient there.
    """

    irreps_out: str
    initial_scale: float = 0.1

    @nn.compact
    def __call__(self, features: Features) -> Array:
        """Returns [N, (l_max + 1)²] multipoles in units of e·Å^l, order [q, y, z, x, ...].

        Args:
            features: of every layer.

        Raises:
            ConfigError: if the irreps are not 1x0e+1x1o+... or the features lack one of them.
        """
        l_max = self._l_max()
        total = sum(self._layer(i, layer, l_max) for i, layer in enumerate(features.layers))
        return jnp.asarray(total)

    def _l_max(self) -> int:
        irreps = e3nn.Irreps(self.irreps_out)
        l_max = len(irreps) - 1
        if irreps != e3nn.Irreps([(1, (degree, (-1) ** degree)) for degree in range(l_max + 1)]):
            raise ConfigError(
                f"multipoles need one irrep per degree such as 1x0e+1x1o, got {self.irreps_out}"
            )
        return l_max

    def _layer(self, index: int, layer: e3nn.IrrepsArray, l_max: int) -> Array:
        blocks = [
            self._degree(index, component(layer, degree), degree) for degree in range(l_max + 1)
        ]
        return jnp.concatenate(blocks, axis=1)

    def _degree(self, index: int, x: Array, degree: int) -> Array:
        if not x.shape[-1]:
            raise ConfigError(
                f"multipoles with l = {degree} need features with l = {degree}, but layer {index} "
                "of the backbone has none; raise hidden_l_max (mace) or l_max (light)"
            )
        return Linear(1, self.initial_scale, name=f"layer_{index}_degree_{degree}")(x)[:, :, 0]
