"""Readouts of a mace-torch model, of which each head has its own, as ours."""

from typing import Any

import numpy as np

from electrojax.interop.mace_architecture import Architecture
from electrojax.interop.mace_weights import Weights, activation_ratio
from electrojax.nn.linear import normalized_silu_scale
from electrojax.nn.readout import EnergyReadout


def energy_readout(weights: Weights, made: Architecture, name: str = "readouts") -> dict[str, Any]:
    """Returns the linear readouts and the perceptron that reads the last layer, of one head.

    Args:
        weights: the state dict.
        made: the backbone.
        name: of the readouts in the state dict.
    """
    channels, layers = made.backbone["channels"], made.backbone["layers"]
    heads, params = len(made.heads), {}
    for index in range(layers - 1):
        column = np.zeros((channels, 1))
        if not made.last_readout_only:
            matrix = weights.take(f"{name}.{index}.linear.weight", channels, heads)
            column = matrix[:, made.head, None]
        params[f"layer_{index}"] = {"weights": column}
    last = layers - 1
    params[f"layer_{last}"] = (
        _linear_as_perceptron(weights.take(f"{name}.0.linear.weight", channels, heads), made)
        if layers == 1
        else _perceptron(weights, made, name, 0 if made.last_readout_only else last)
    )
    return params


def _perceptron(weights: Weights, made: Architecture, name: str, index: int) -> dict[str, Any]:
    """The last readout of one head; ours may be wider, what is left of it has no weight."""
    heads, width, channels = len(made.heads), made.readout_width, made.backbone["channels"]
    first = weights.take(f"{name}.{index}.linear_1.weight", channels, heads, width)
    second = weights.take(f"{name}.{index}.linear_2.weight", heads, width, heads)
    hidden, output = np.zeros((channels, EnergyReadout.hidden)), np.zeros((EnergyReadout.hidden, 1))
    hidden[:, :width] = first[:, made.head]
    factor = activation_ratio() * (EnergyReadout.hidden / (heads * width)) ** 0.5
    output[:width, 0] = second[made.head, :, made.head] * factor
    return {"hidden_0": {"weights": hidden}, "output": {"weights": output}}


def _linear_as_perceptron(matrix: np.ndarray, made: Architecture) -> dict[str, Any]:
    """A linear map written with two hidden units, since silu(x) − silu(−x) = x."""
    width = EnergyReadout.hidden
    hidden, output = np.zeros((len(matrix), width)), np.zeros((width, 1))
    hidden[:, 0], hidden[:, 1] = matrix[:, made.head], -matrix[:, made.head]
    output[:2, 0] = np.array([1.0, -1.0]) * width**0.5 / normalized_silu_scale()
    return {"hidden_0": {"weights": hidden}, "output": {"weights": output}}


def embedding_energy(weights: Weights, made: Architecture, scale: float) -> dict[str, Any]:
    """Returns the map from the embedding to an energy, which mace-torch does not scale.

    Args:
        weights: the state dict.
        made: the backbone.
        scale: by which we multiply this energy with all others, eV.
    """
    channels = made.backbone["channels"]
    matrix = weights.take("embedding_readout.linear.weight", channels, len(made.heads))
    return {"weights": matrix[:, made.head, None] / scale}
