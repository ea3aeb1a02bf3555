"""Weights of the residual non-linear interaction of mace-torch as our gated interaction's."""

from typing import Any

import numpy as np

from electrojax.interop.mace_architecture import Architecture
from electrojax.interop.mace_weights import Weights, activation_ratio, scaled, sigmoid_ratio, split
from electrojax.nn.gated import DENSITY_WIDTH
from electrojax.nn.interaction import paths


def gated_interaction(
    weights: Weights, made: Architecture, order: np.ndarray, index: int
) -> dict[str, Any]:
    """Returns the parameters of a layer's gated interaction.

    Args:
        weights: the state dict.
        made: the backbone.
        order: of the elements in its weights.
        index: of the layer.
    """
    name, channels, l_max = (
        f"interactions.{index}",
        made.backbone["channels"],
        made.backbone["l_max"],
    )
    sent = made.channels_in(index)
    wide = [channels * (l_max + 1), *[channels] * l_max]
    counts = [0] * (l_max + 1)
    for l1, _, l3 in paths(len(sent) - 1, l_max):
        counts[l3] += sent[l1]
    networks = {
        "radial": ("conv_tp_weights", tuple(made.backbone["radial_hidden"]), sum(counts)),
        "density": ("density_fn", (DENSITY_WIDTH,), 1),
    }
    params: dict[str, Any] = {
        key: _network(weights, made, order, f"{name}.{there}", widths, outputs)
        for key, (there, widths, outputs) in networks.items()
    }
    hidden, same = [channels] * len(sent), [channels] * (l_max + 1)
    maps = {
        "up": _maps(weights, f"{name}.linear_up.weight", hidden, sent),
        "own": _maps(weights, f"{name}.linear_res.weight", sent, wide),
        "down": _maps(weights, f"{name}.linear_1.weight", counts, wide),
        "out": _maps(weights, f"{name}.linear_2.weight", same, same),
    }
    for key, matrices in maps.items():
        params |= {f"{key}_{degree}": {"weights": m} for degree, m in enumerate(matrices)}
    for degree in range(l_max + 1):
        params[f"out_{degree}"]["weights"] *= sigmoid_ratio() if degree else activation_ratio()
    return params | {key: weights.take(f"{name}.{key}") for key in ("alpha", "beta")}


def _maps(weights: Weights, name: str, inputs: Any, outputs: Any) -> list[np.ndarray]:
    """The matrices of an e3nn map, one per degree that both sides have."""
    shapes = list(zip(inputs, outputs))
    flat = weights.take(name, sum(a * b for a, b in shapes))
    parts = split(flat, [a * b for a, b in shapes])
    return [part.reshape(shape).copy() for part, shape in zip(parts, shapes)]


def _network(
    weights: Weights,
    made: Architecture,
    order: np.ndarray,
    name: str,
    hidden: tuple[int, ...],
    outputs: int,
) -> dict[str, Any]:
    """A perceptron of the radial basis and of embeddings of the two elements.

    The embeddings are multiplied by their columns of its first matrix: tables of elements.
    """
    species, channels, size = len(made.numbers), made.backbone["channels"], made.backbone["bessel"]
    first = weights.take(f"{name}.net.0.weight", hidden[0], size + 2 * channels).T
    radial, source, target = split(first, [size, channels, channels])
    block = name.rpartition(".")[0]
    sender, receiver = (
        weights.take(f"{block}.{side}_embedding.weight", species, channels)[order] @ matrix
        for side, matrix in (("source", source), ("target", target))
    )
    shift = weights.take(f"{name}.net.0.bias", hidden[0]) * species**0.5
    layers: dict[str, Any] = {}
    for i, width in enumerate(hidden):
        if i:
            matrix = weights.take(f"{name}.net.{3 * i}.weight", width, hidden[i - 1]).T
            layers[f"layer_{i}"] = scaled(matrix)
            layers[f"bias_{i}"] = weights.take(f"{name}.net.{3 * i}.bias", width)
        layers[f"gain_{i}"] = weights.take(f"{name}.net.{3 * i + 1}.weight", width)
        layers[f"shift_{i}"] = weights.take(f"{name}.net.{3 * i + 1}.bias", width)
    last = f"{name}.net.{3 * len(hidden)}"
    return {
        "radial": scaled(radial),
        "sender": {"weights": sender},
        "receiver": {"weights": receiver + shift},
        "hidden": layers,
        "output": scaled(weights.take(f"{last}.weight", outputs, hidden[-1]).T),
        "bias": weights.take(f"{last}.bias", outputs),
    }
