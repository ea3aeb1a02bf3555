"""Models of mace-torch as potentials of ours: the same numbers, renamed and rescaled.

Nothing here needs torch: what comes in are arrays and plain data.

The two codes differ only in where constants stand, and all of these are folded into the weights:

* e3nn's maps that depend on the element (self-connection, mixing by element) divide by √(channels ·
  elements), ours by √channels;
* its normalised SiLU has a factor from a million random numbers, ours from a quadrature;
* its symmetric contraction sums over all products of Clebsch-Gordan coefficients, which are not
  independent once the factors are exchanged; ours has an orthonormal basis of what is left;
* edges come as (x, y, z), here as (y, z, x): a rotation, which energies do not feel.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from electrojax.errors import ConfigError
from electrojax.interop.les_torch import les_model, les_part
from electrojax.interop.mace_architecture import Architecture, architecture, constants
from electrojax.interop.mace_gated import gated_interaction
from electrojax.interop.mace_readouts import embedding_energy, energy_readout
from electrojax.interop.mace_state import state_params
from electrojax.interop.mace_weights import State, Weights, activation_ratio, split
from electrojax.interop.polar_architecture import polar_part
from electrojax.interop.polar_torch import PolarWeights
from electrojax.models.potential import Potential, assemble
from electrojax.nn.contraction import symmetric_basis
from electrojax.nn.interaction import paths
from electrojax.system.types import Statistics

ACCURACY = {"float32": 1e-6, "float64": 1e-9}
"""Of the Coulomb forces of imported models, by precision: relative, RMS."""


def convert(
    state: State, config: Mapping[str, Any], head: str = "", precision: str = "float64"
) -> Potential:
    """Returns the potential that predicts what a MACE, ScaleShiftMACE, MACELES or PolarMACE does.

    Args:
        state: its state dict as NumPy arrays.
        config: how it was built, as plain data: the arguments of its class in mace-torch, with
            irreps as strings, the interaction, readout and activation by name, and ``kind``.
        head: which head of a model with several.
        precision: ``float32`` or ``float64``, of the parameters and of predictions.

    Raises:
        ConfigError: naming what is not supported, and any array that has no place in the result.
    """
    backbone, polar = polar_part(config)
    backbone, les = les_part(backbone)
    made = architecture(backbone, head)
    weights = Weights(state)
    charges = None if polar is None else PolarWeights(weights, made, polar)
    order = np.argsort(made.numbers)
    for name, value in constants(made).items():
        weights.check_constant(name, value)
    params = {
        "backbone": _backbone(weights, made, order, config.get("embedding_specs") or {}),
        "readout": energy_readout(weights, made),
    }
    statistics = _statistics(weights, made, order)
    if made.backbone["embedding_energy"]:
        energy = embedding_energy(weights, made, statistics.energy_scale)
        params["backbone"]["embedding_energy"] = energy
    model = {
        "backbone": made.backbone,
        "density": {"l_max": 0, "width": 1.5},
        "coulomb": {"boundary": "auto"},
        "solver": {"kind": "none"},
    }
    if charges is not None or les is not None:
        model["coulomb"] = {"boundary": "auto", "accuracy": ACCURACY[precision]}
    if charges is not None:
        model["density"] = {"l_max": charges.polar.l_max, "width": charges.polar.width}
        model["solver"], params["solver"] = charges.solver()
    if les is not None:
        model["density"], model["solver"], params["solver"] = les_model(weights, made, les)
    left = weights.unaccounted()
    if left:
        raise ConfigError(
            f"no place for {len(left)} arrays of the state dict: {', '.join(sorted(left)[:8])}; "
            "the model has a part that electrojax does not have"
        )
    return assemble(model, statistics, precision, _cast(params, np.dtype(precision)))


def _statistics(weights: Weights, made: Architecture, order: np.ndarray) -> Statistics:
    species = len(made.numbers)
    energies = weights.take("atomic_energies_fn.atomic_energies", -1, species)
    scale, shift = np.ones(1), np.zeros(1)
    if "scale_shift.scale" in weights:
        scale, shift = (weights.take(f"scale_shift.{name}", -1) for name in ("scale", "shift"))
    return Statistics(
        numbers=tuple(int(made.numbers[i]) for i in order),
        atomic_energies=tuple(float(e) for e in energies[made.of_head(len(energies))][order]),
        average_neighbors=made.average_neighbors,
        energy_scale=float(scale[made.of_head(len(scale))]),
        energy_shift=float(shift[made.of_head(len(shift))]),
    )


def _backbone(
    weights: Weights, made: Architecture, order: np.ndarray, specs: Mapping[str, Any]
) -> dict[str, Any]:
    channels, species = made.backbone["channels"], len(made.numbers)
    embedding = weights.take("node_embedding.linear.weight", species, channels)
    params: dict[str, Any] = {"embedding": {"weights": embedding[order]}}
    if specs:
        params["state"] = state_params(weights, specs, made.backbone)
    for index in range(made.backbone["layers"]):
        params[f"layer_{index}"] = _layer(weights, made, order, index)
    return params


def _layer(weights: Weights, made: Architecture, order: np.ndarray, index: int) -> dict[str, Any]:
    channels, l_max = made.backbone["channels"], made.backbone["l_max"]
    l_in, l_out = made.degree(index - 1), made.degree(index)
    mixed = min(l_in, l_out) if made.residual(index) else l_max
    params = _mixing(weights, made, order, index, mixed)
    if made.backbone["interaction"] == "gated":
        params["interaction"] = gated_interaction(weights, made, order, index)
    else:
        params["interaction"] = _interaction(weights, made, index)
    sizes = [channels**2] * (l_out + 1)
    linear = split(weights.take(f"products.{index}.linear.weight", sum(sizes)), sizes)
    for degree, part in enumerate(linear):
        params[f"product_{degree}"] = {"weights": part.reshape(channels, channels)}
    params["contraction"] = {}
    for degree in range(l_out + 1):
        params["contraction"] |= _contraction(weights, made, order, index, degree)
    return params


def _mixing(
    weights: Weights, made: Architecture, order: np.ndarray, index: int, mixed: int
) -> dict[str, Any]:
    """What mixes the old features up to a degree, or the new ones: by element unless gated."""
    channels, name = made.backbone["channels"], f"interactions.{index}.skip_tp.weight"
    if made.backbone["interaction"] == "gated":
        matrices = weights.take(name, mixed + 1, channels, channels)
        return {f"kept_{degree}": {"weights": m} for degree, m in enumerate(matrices)}
    params, sizes = {}, [channels * len(made.numbers) * channels] * (mixed + 1)
    for degree, part in enumerate(split(weights.take(name, sum(sizes)), sizes)):
        by_species = part.reshape(channels, len(made.numbers), channels).swapaxes(0, 1)[order]
        params[f"species_{degree}"] = {"weights": by_species / len(made.numbers) ** 0.5}
    return params


def _interaction(weights: Weights, made: Architecture, index: int) -> dict[str, Any]:
    channels, l_max = made.backbone["channels"], made.backbone["l_max"]
    name, sent = f"interactions.{index}", made.channels_in(index)
    couplings = paths(len(sent) - 1, l_max)
    outputs = sum(sent[l1] for l1, _, _ in couplings)
    params: dict[str, Any] = {"radial": _radial(weights, made, index, outputs)}
    sizes = [channels * size for size in sent]
    up = split(weights.take(f"{name}.linear_up.weight", sum(sizes)), sizes)
    for degree, part in enumerate(up):
        params[f"up_{degree}"] = {"weights": part.reshape(channels, -1)}
    counts = [
        sum(sent[l1] for l1, _, l3 in couplings if l3 == degree) for degree in range(l_max + 1)
    ]
    sizes = [count * channels for count in counts]
    down = split(weights.take(f"{name}.linear.weight", sum(sizes)), sizes)
    for degree, part in enumerate(down):
        params[f"down_{degree}"] = {"weights": part.reshape(-1, channels)}
    if made.backbone["normalization"] == "density":
        density = weights.take(f"{name}.density_fn.layer0.weight", made.backbone["bessel"], 1)
        params["density"] = {"weights": density}
    return params


def _radial(weights: Weights, made: Architecture, index: int, outputs: int) -> dict[str, Any]:
    """The radial network; its activations' factors go into the weights that follow them."""
    widths = (made.backbone["bessel"], *made.backbone["radial_hidden"], outputs)
    names = [f"hidden_{i}" for i in range(len(widths) - 2)] + ["output"]
    params = {}
    for i, name in enumerate(names):
        name_there = f"interactions.{index}.conv_tp_weights.layer{i}.weight"
        matrix = weights.take(name_there, widths[i], widths[i + 1])
        params[name] = {"weights": matrix * (activation_ratio() if i else 1.0)}
    return params


def _contraction(
    weights: Weights, made: Architecture, order: np.ndarray, index: int, degree: int
) -> dict[str, np.ndarray]:
    """Weights of the orthonormal symmetric basis, from those of mace-torch's coupling tensors."""
    name = f"products.{index}.symmetric_contractions.contractions.{degree}"
    l_max, top = made.backbone["l_max"], made.backbone["correlation"]
    species, found = 1 if made.agnostic else len(made.numbers), {}
    for nu in range(1, top + 1):
        basis = symmetric_basis(l_max, nu, degree)
        size = (l_max + 1) ** 2
        head = (2 * degree + 1,) if degree else (1,)
        tensor = weights.take(f"{name}.U_matrix_{nu}", *head, *(size,) * nu, -1)
        there = "weights_max" if nu == top else f"weights.{top - 1 - nu}"
        old = weights.take(f"{name}.{there}", species, tensor.shape[-1], made.backbone["channels"])
        old = old if made.agnostic else old[order]
        projection = _projection(tensor, basis, f"{name}.U_matrix_{nu}")
        found[f"weights_{degree}_{nu}"] = np.einsum("pk,skc->spc", projection, old)
    return found


def _projection(tensor: np.ndarray, basis: np.ndarray, name: str) -> np.ndarray:
    """Returns the coefficients [paths, k] of coupling tensors, symmetrised, in our basis."""
    nu = basis.ndim - 2
    orders = list(itertools.permutations(range(1, nu + 1)))
    turned = [tensor.transpose(*axes, 0, nu + 1) for axes in orders]
    symmetric = np.mean(turned, axis=0)
    flat = symmetric.reshape(-1, symmetric.shape[-1])
    rows = np.moveaxis(basis, -2, 0).reshape(basis.shape[-2], -1)
    projection = rows @ flat / basis.shape[-1]  # every component m alone has the norm one
    if not np.allclose(rows.T @ projection, flat, atol=1e-5):
        raise ConfigError(f"{name} is not an equivariant coupling of natural parity")
    return projection


def _cast(tree: Any, dtype: np.dtype) -> Any:
    if isinstance(tree, dict):
        return {key: _cast(value, dtype) for key, value in tree.items()}
    return np.asarray(tree, dtype)
