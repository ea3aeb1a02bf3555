"""The latent charges of a MACELES (package les) as our solver ``latent``."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from electrojax.interop.mace_architecture import Architecture, check_options
from electrojax.interop.mace_readouts import energy_readout
from electrojax.interop.mace_weights import Weights
from electrojax.solvers.readouts.elements import ELEMENTS
from electrojax.units import COULOMB

KIND = "MACELES"

ONLY: dict[str, tuple[Any, ...]] = {
    "use_atomwise": (False,),
    "use_fixed_atomic_charges": (False,),
    "use_atomic_alpha": (False,),
    "use_epsilon_r_scaling": (False,),
    "epsilon_factor": (1.0,),
    "normalization_factor": (1.0,),
}
"""Options of les of which only some values have a counterpart here."""

FREE = ("sigma", "norm_factor", "remove_self_interaction", "remove_mean")
NUMERICAL = ("dl", "n_layers", "n_hidden", "add_linear_nn", "output_scaling_factor")
"""How its sums are evaluated, and what its unused perceptron would be."""


def les_part(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Returns the configuration of the backbone, and what is said of charges; None without any.

    Args:
        config: as for :func:`electrojax.interop.mace_torch.convert`.

    Raises:
        ConfigError: naming what is missing or has no counterpart.
    """
    if config.get("kind") != KIND:
        return dict(config), None
    backbone = {**config, "kind": "ScaleShiftMACE"}
    les = dict(backbone.pop("les", {}))
    check_options("les", les, FREE, ONLY, NUMERICAL)
    return backbone, les


def les_model(
    weights: Weights, made: Architecture, les: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Returns the options of the density and of the solver, and the solver's parameters.

    E = f/(2V) Σ_k≠0 exp(−σ²k²/2)/k² |S(k)|² (B. Cheng, npj Comput. Mater. 11, 80 (2025)) is the
    energy of Gaussians of the standard deviation σ/√2, with f/2π in place of e²/4πε₀.

    Args:
        weights: the state dict.
        made: the backbone.
        les: its options.
    """
    density = {"l_max": 0, "width": float(les["sigma"]) / math.sqrt(2.0)}
    solver = {
        "kind": "latent",
        "self_interaction": not les["remove_self_interaction"],
        "charge_control": "none",
        "readout": "perceptron",
        "remove_mean": bool(les["remove_mean"]),
        "energy_factor": float(les["norm_factor"]) / (2.0 * math.pi * COULOMB),
    }
    readout = energy_readout(weights, made, "les_readouts")
    for name, params in readout.items():
        last = params.get("output", params)
        last["weights"] = last["weights"] / 0.1  # the solver's scale of fresh charges
        readout[name] = params
    table = {"table": np.zeros(ELEMENTS)}
    return density, solver, {"latent": readout, "element_charge_0": table}
