"""What a backbone hands to readouts and solvers: equivariant features of every layer."""

import e3nn_jax as e3nn
import jax.numpy as jnp

from electrojax.typing import Array, struct


@struct
class Features:
    """Per-atom equivariant features of every message-passing layer.

    Components are in the order m = −l ... l of real harmonics (l = 1: y, z, x), since backbones
    are fed edge vectors in that order. Padding rows are zero.

    Attributes:
        layers: one [N, irreps] per layer, dimensionless; every layer keeps its l > 0.
        energies: per-atom terms [N] that a backbone knows in closed form, such as the repulsion of
            nuclei; the energy readout adds them, in units of the energy scale.
    """

    layers: tuple[e3nn.IrrepsArray, ...]
    energies: tuple[Array, ...] = ()


def from_components(components: tuple[Array, ...]) -> e3nn.IrrepsArray:
    """Returns arrays [N, 2l + 1, channels], l = 0, 1, ... as one array of natural parity (−1)^l."""
    blocks = [jnp.swapaxes(x, 1, 2).reshape(x.shape[0], -1) for x in components]
    irreps = e3nn.Irreps(
        [(x.shape[2], (degree, (-1) ** degree)) for degree, x in enumerate(components)]
    )
    return e3nn.IrrepsArray(irreps, jnp.concatenate(blocks, axis=1))


def component(layer: e3nn.IrrepsArray, degree: int) -> Array:
    """Returns the features of one degree l and parity (−1)^l as [N, 2l + 1, channels].

    Zero channels where the layer has none of that kind.
    """
    wanted = e3nn.Irrep(degree, (-1) ** degree)
    blocks = [
        layer.array[:, part].reshape(-1, mul, ir.dim)
        for (mul, ir), part in zip(layer.irreps, layer.irreps.slices())
        if ir == wanted
    ]
    empty = jnp.zeros((layer.shape[0], 0, wanted.dim), layer.dtype)
    return jnp.swapaxes(jnp.concatenate([empty, *blocks], axis=1), 1, 2)
