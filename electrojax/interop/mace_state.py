"""Embeddings of charge and spin of a mace-torch model (``embedding_specs``), in our terms."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from electrojax.errors import ConfigError
from electrojax.interop.mace_weights import Weights, scaled
from electrojax.nn.linear import normalized_silu_scale

STATES = {"total_charge": "total_charge", "total_spin": "multiplicity"}
"""What mace-torch embeds, and how we call it; its spins are multiplicities."""

KEYS = ("type", "per", "in_dim", "emb_dim", "num_classes", "offset", "use_bias")


def state_options(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of our backbone for the embeddings of a model.

    Args:
        specs: ``embedding_specs`` of mace-torch: by name, what is embedded and how.

    Raises:
        ConfigError: naming an embedding, or an option of one, that has no counterpart.
    """
    for name, spec in specs.items():
        _check(name, spec)
    classes = [int(spec.get("num_classes", 0)) * _tabulated(spec) for spec in specs.values()]
    lowest = [-int(spec.get("offset", 0)) * _tabulated(spec) for spec in specs.values()]
    widths = [int(spec["emb_dim"]) for spec in specs.values() if not _tabulated(spec)]
    return {
        "states": [STATES[name] for name in specs],
        "state_classes": classes,
        "state_lowest": lowest,
        **({"state_hidden": max(widths)} if widths else {}),
    }


def _tabulated(spec: Mapping[str, Any]) -> bool:
    return bool(spec["type"] == "categorical")


def _check(name: str, spec: Mapping[str, Any]) -> None:
    where = f"embedding_specs {name}"
    if name not in STATES:
        raise ConfigError(f"{where} is not supported; supported: {', '.join(STATES)}")
    unknown = sorted(set(spec) - set(KEYS))
    if unknown:
        raise ConfigError(f"{where}: options without a counterpart: {', '.join(unknown)}")
    if spec.get("type") not in ("categorical", "continuous"):
        raise ConfigError(f"{where}: type {spec.get('type')}; needed categorical or continuous")
    if spec.get("per") != "graph":
        raise ConfigError(f"{where}: per {spec.get('per')}; needed graph, one of a structure")
    if spec["type"] == "continuous" and int(spec.get("in_dim", 1)) != 1:
        raise ConfigError(f"{where}: in_dim {spec['in_dim']}; needed 1")
    if float(spec.get("offset", 0)) != int(spec.get("offset", 0)):
        raise ConfigError(f"{where}: offset {spec['offset']}; needed a whole number")


def state_params(
    weights: Weights, specs: Mapping[str, Any], backbone: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the parameters of our embedding of states.

    Each embedding of mace-torch is followed by its columns of one common matrix, multiplied into
    it here.
    """
    channels = backbone["channels"]
    sizes = [int(spec["emb_dim"]) for spec in specs.values()]
    project = weights.take("joint_embedding.project.0.weight", channels, sum(sizes)).T
    blocks = np.split(project, np.cumsum(sizes)[:-1])
    params: dict[str, Any] = {}
    for (name, spec), block in zip(specs.items(), blocks):
        there, here = f"joint_embedding.embedders.{name}", STATES[name]
        if _tabulated(spec):
            table = weights.take(f"{there}.weight", int(spec["num_classes"]), len(block))
            params[f"{here}_table"] = table @ block
        else:
            params[here] = _network(weights, there, spec, block, backbone["state_hidden"])
    return params


def _network(
    weights: Weights, name: str, spec: Mapping[str, Any], block: np.ndarray, hidden: int
) -> dict[str, Any]:
    """A perceptron with one hidden layer, whose further units have no weight."""
    width, room = len(block), hidden - len(block)
    first = weights.take(f"{name}.0.weight", width, 1).T
    second = weights.take(f"{name}.2.weight", width, width).T @ block / normalized_silu_scale()
    biases = [np.zeros(width), np.zeros(width)]
    if spec.get("use_bias", True):
        biases = [weights.take(f"{name}.{i}.bias", width) for i in (0, 2)]
    return {
        "hidden_0": {
            "linear": {"weights": np.pad(first, ((0, 0), (0, room)))},
            "bias": np.pad(biases[0], (0, room)),
        },
        "output": {
            "linear": scaled(np.pad(second, ((0, room), (0, 0)))),
            "bias": biases[1] @ block,
        },
    }
