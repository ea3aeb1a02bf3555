"""The charges of a PolarMACE (MACE-POLAR-1) as parameters of our field updates.

Nothing is lost and nothing approximated: maps that follow each other without anything between are
multiplied, and constants of normalisation are folded into weights. Its first channel has the charge
(Q + 2S)/2, which is our second; its potentials √4π ⟨v⟩ and π√(3/2) σ ∇⟨v⟩ are ours by norms.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from electrojax.errors import ConfigError
from electrojax.interop.mace_architecture import Architecture
from electrojax.interop.mace_weights import Weights, activation_ratio, scaled, sigmoid_ratio
from electrojax.interop.polar_architecture import Polar
from electrojax.solvers.readouts.elements import ELEMENTS
from electrojax.solvers.readouts.polar_form import PolarUpdate

DERIVED = re.compile(
    r"(electric_potential_descriptor|coulomb_energy|external_field_contribution)\."
    r"|kspace_cutoff$|field_dependent_charges_maps\.\d+\.field_norm_factor$"
)
"""Entries that follow from widths and orders, and one that nothing uses."""

SWAPPED = [1, 0]
"""Our spin channels in the order of theirs."""

Blocks = Sequence[tuple[int, int]]
"""Irreps of natural parity: multiplicity and degree of each block."""


class PolarWeights:
    """Parameters of one PolarMACE, in the order of our modules.

    Attributes:
        weights: its state dict.
        made: its backbone.
        polar: its charges.
    """

    def __init__(self, weights: Weights, made: Architecture, polar: Polar) -> None:
        self.weights, self.made, self.polar = weights, made, polar
        degree, self.channels = made.degree(made.backbone["layers"] - 1), made.backbone["channels"]
        if degree < polar.l_max:
            raise ConfigError(
                f"atomic_multipoles_max_l {polar.l_max} above the l = {degree} of hidden_irreps is "
                "not supported; needed at most the same"
            )
        self.degrees = degree + 1
        self.hidden: Blocks = [(self.channels, l) for l in range(self.degrees)]
        self.charges: Blocks = [(1, l) for l in range(polar.l_max + 1)] * 2
        received = range(polar.receiver_l_max + 1)
        self.potentials: Blocks = [(len(polar.receiver_widths), l) for l in received] * 2

    def solver(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the options and the parameters of the solver non_scf."""
        self._derived()
        params: dict[str, Any] = {"local": self._local()}
        start = self._start_widths()
        params["fukui"] = self._fukui(start)
        params["update_features"] = self._mixed()
        for step in range(self.polar.steps):
            name = f"field_dependent_charges_maps.{step}"
            params[f"element_{step}"] = self._elements(f"{name}.source_embedding.weight")
            params[f"update_{step}"] = self._update(name)
        energy = self._energy()
        if self.polar.learned_energy:
            params["energy_readout"] = energy
        return self._options(start), params

    def _options(self, start: Sequence[int]) -> dict[str, Any]:
        updates = [
            self._hidden(f"field_dependent_charges_maps.{step}.nonlinearity")
            for step in range(self.polar.steps)
        ]
        if any(widths != updates[0] for widths in updates):
            raise ConfigError(f"hidden widths of the updates differ: {updates}; needed the same")
        return {
            "kind": "non_scf",
            "form": "mace_polar",
            "steps": self.polar.steps,
            "spin": True,
            "fukui": "signed",
            "energy": "perceptron" if self.polar.learned_energy else "coulomb",
            "potentials": "absolute",
            "channels": self.channels,
            "hidden": updates[0] if updates else [64, 64, 64],
            "energy_hidden": self._hidden("local_electron_energy.mlp"),
            "start_hidden": list(start),
            "limit": 0.0,
            "receiver_widths": list(self.polar.receiver_widths),
            "receiver_norms": self._norms(),
            "on_site": self.polar.on_site,
            "self_energy": self.polar.self_energy,
            "half_field": True,
            "barycentre": True,
        }

    def _derived(self) -> None:
        """Checks the widths that are in the state dict; the rest follows from them."""
        squares = {"density": [self.polar.width], "feature": self.polar.receiver_widths}
        for basis, widths in squares.items():
            name = f"electric_potential_descriptor.{basis}_basis.radial_spline.sigma2"
            self.weights.check_constant(name, [width**2 for width in widths])
        self.weights.asked |= {name for name in self.weights.state if DERIVED.match(name)}

    def _norms(self) -> list[float]:
        """Of each width in turn, per order: theirs are of √4π ⟨v⟩ and of π√(3/2) σ ∇⟨v⟩."""
        widths, top = self.polar.receiver_widths, self.polar.receiver_l_max
        size = len(widths) * (top + 1) ** 2
        flat = self.weights.take("field_feature_norms", size)
        norms = np.ones((len(widths), self.polar.l_max + 1))
        norms[:, 0] = flat[: len(widths)] / math.sqrt(4.0 * math.pi)
        if top:
            vectors = flat[len(widths) :].reshape(len(widths), 3)[:, 0]
            norms[:, 1] = vectors / (math.pi * math.sqrt(1.5) * np.asarray(widths))
        return [float(x) for x in norms.ravel()]

    def _local(self) -> dict[str, Any]:
        params = {}
        for layer in range(self.made.backbone["layers"]):
            maps = self._linear(f"lr_source_maps.{layer}.linear.weight", self.hidden, self.charges)
            for l in range(self.polar.l_max + 1):
                matrix = maps[l][:, SWAPPED]
                params[f"layer_{layer}_degree_{l}"] = scaled(matrix)
        return params

    def _start_widths(self) -> tuple[int, int]:
        name = "fukui_source_map.linear_mid.bias"
        width = self.weights.take(name, -1).size
        return width, width

    def _fukui(self, widths: Sequence[int]) -> dict[str, Any]:
        name, width = "fukui_source_map", widths[0]
        first = self.weights.take(f"{name}.linear_1.weight", self.channels, width)
        middle = self.weights.take(f"{name}.linear_mid.weight", width, width)
        last = self.weights.take(f"{name}.linear_2.weight", width, 2)
        ratio = activation_ratio()
        bias = self.weights.take(f"{name}.linear_2.bias", 2)[SWAPPED]
        return {
            "hidden_0": {"linear": {"weights": first}, "bias": np.zeros(width)},
            "hidden_1": {
                "linear": {"weights": middle * ratio},
                "bias": self.weights.take(f"{name}.linear_mid.bias", width),
            },
            "output": {"linear": {"weights": last[:, SWAPPED] * ratio}, "bias": bias},
        }

    def _mixed(self) -> dict[str, Any]:
        layers = self.made.backbone["layers"]
        maps = [
            self._linear(f"layer_feature_mixer.linears.{i}.weight", self.hidden, self.hidden)
            for i in range(layers)
        ]
        return {
            f"degree_{l}": scaled(np.concatenate([layer[l] for layer in maps]))
            for l in range(self.degrees)
        }

    def _elements(self, name: str) -> np.ndarray:
        numbers = self.made.numbers
        rows = self.weights.take(name, len(numbers), self.channels)
        table = np.zeros((ELEMENTS, self.channels))
        table[list(numbers)] = rows / math.sqrt(len(numbers))
        return table

    def _update(self, name: str) -> dict[str, Any]:
        gated, top = PolarUpdate.gated, self.polar.l_max
        between: Blocks = [(gated, l) for l in range(top + 1)]
        before: Blocks = [(gated * (top + 1), 0), *between[1:]]
        first = self._linear(f"{name}.readout.linear_1.weight", self.hidden, before)
        middle = self._linear(f"{name}.readout.linear_mid.weight", between, before)
        bias = self.weights.take(f"{name}.readout.linear_mid.bias", gated * (top + 1))
        return {
            "products": self._products(name),
            "gates": self._gates(name),
            "gated_0": {
                "scalars": scaled(first[0]),
                **{f"degree_{l}": scaled(first[l]) for l in range(1, top + 1)},
            },
            "gated_1": {
                "scalars": {"linear": scaled(middle[0] * activation_ratio()), "bias": bias},
                **{f"degree_{l}": scaled(middle[l] * sigmoid_ratio()) for l in range(1, top + 1)},
            },
            **self._changes(name, between),
        }

    def _changes(self, name: str, between: Blocks) -> dict[str, Any]:
        maps = self._linear(f"{name}.readout.linear_2.weight", between, [*self.charges, (2, 0)])
        bias = self.weights.take(f"{name}.readout.linear_2.bias", 4)
        scalars = maps[0] * activation_ratio()
        changes = {
            f"change_{l}": scaled(maps[l][:, SWAPPED] * sigmoid_ratio())
            for l in range(1, self.polar.l_max + 1)
        }
        return {
            "change_0": {"linear": scaled(scalars[:, :2][:, SWAPPED]), "bias": bias[:2][SWAPPED]},
            "fukui": {"linear": scaled(scalars[:, 2:][:, SWAPPED]), "bias": bias[2:][SWAPPED]},
            **changes,
        }

    def _products(self, name: str) -> dict[str, Any]:
        """⟨h, W h + W' x⟩ with the weights of the products multiplied into W and W'."""
        embedding = f"{name}.potential_embedding"
        potentials = self._received(f"{embedding}.potential_linear.weight")
        charges = self._linear(f"{embedding}.charge_embedding.weight", self.charges, self.hidden)
        features = self._linear(f"{embedding}.node_feats_linear.weight", self.hidden, self.hidden)
        dots = self._dots(f"{name}.dot_products.weight")
        params = {f"features_{l}": scaled(features[l] @ dots[l]) for l in range(self.degrees)}
        for l in range(self.polar.l_max + 1):
            values = np.concatenate([potentials[l], charges[l][SWAPPED]])
            params[f"values_{l}"] = scaled(values @ dots[l])
        return params

    def _received(self, name: str) -> dict[int, np.ndarray]:
        """A map of the potentials, its rows in our order: channel, then width."""
        maps, count = (
            self._linear(name, self.potentials, self.hidden),
            len(self.polar.receiver_widths),
        )
        ordered = {}
        for l in range(self.polar.l_max + 1):
            rows = maps.get(l, np.zeros((2 * count, self.channels)))
            ordered[l] = rows.reshape(2, count, -1)[SWAPPED].reshape(2 * count, -1)
        return ordered

    def _dots(self, name: str) -> list[np.ndarray]:
        """Matrices [v, u] of d_u = Σ_l Σ_v w_uv h_u·m_v, for products over 2l + 1."""
        matrices = self.weights.take(name, self.degrees, self.channels, self.channels)
        norm = math.sqrt(self.channels * self.degrees)
        return [m.T * math.sqrt(2 * l + 1) / norm for l, m in enumerate(matrices)]

    def _gates(self, name: str) -> dict[str, Any]:
        """The perceptron, with the products of its outputs and features multiplied into it."""
        params = self._normed(f"{name}.nonlinearity", (self.degrees, 1))
        product = self.weights.take(
            f"{name}.tp_out.weight", self.degrees, self.channels, self.channels
        ) / math.sqrt(self.channels)
        matrix = params["output"]["linear"]["weights"]
        bias = params["output"]["bias"]
        params["output"] = {
            "linear": {"weights": np.concatenate([matrix @ part.T for part in product], axis=1)},
            "bias": np.concatenate([bias @ part.T for part in product]),
        }
        return params

    def _hidden(self, name: str) -> list[int]:
        found = re.compile(re.escape(name) + r"\.net\.(\d+)\.weight")
        layers = sorted(int(m[1]) for m in map(found.fullmatch, self.weights.state) if m)
        return [self.weights.state[f"{name}.net.{i}.weight"].shape[0] for i in layers[:-1:2]]

    def _normed(self, name: str, repeats: Sequence[int]) -> dict[str, Any]:
        """A perceptron with layer norms; blocks of its inputs stand for sums over orders."""
        widths = self._hidden(name)
        outputs = self.weights.state[f"{name}.net.{3 * len(widths)}.weight"].shape[0]
        sizes = [len(repeats) * self.channels, *widths, outputs]
        params: dict[str, Any] = {}
        for i, (size, width) in enumerate(itertools.pairwise(sizes)):
            matrix = self.weights.take(f"{name}.net.{3 * i}.weight", width, size).T
            if i == 0:
                blocks = np.split(matrix, len(repeats))
                matrix = np.concatenate([b for b, n in zip(blocks, repeats) for _ in range(n)])
            bias = self.weights.take(f"{name}.net.{3 * i}.bias", width)
            key = f"hidden_{i}" if i < len(widths) else "output"
            params[key] = {"linear": scaled(matrix), "bias": bias}
            if i < len(widths):
                gain, shift = (
                    self.weights.take(f"{name}.net.{3 * i + 1}.{kind}", width)
                    for kind in ("weight", "bias")
                )
                params[f"norm_{i}"] = {"gain": gain, "bias": shift}
        return params

    def _energy(self) -> dict[str, Any]:
        """The energy's readout, which is there and asked for even where it is left out."""
        name, count = "local_electron_energy", self.polar.l_max + 1
        charges = self._linear(f"{name}.linear_up_q.weight", self.charges, self.hidden)
        ups = {
            "density": ({l: charges[l][SWAPPED] for l in range(count)}, "q"),
            "potentials": (self._received(f"{name}.linear_up_v.weight"), "v"),
        }
        params: dict[str, Any] = {"perceptron": self._normed(f"{name}.mlp", (count, count))}
        for key, (maps, letter) in ups.items():
            dots = self._dots(f"{name}.dot_products_{letter}.weight")
            bias = self.weights.take(f"{name}.linear_up_{letter}.bias", self.channels)
            params[key] = {f"values_{l}": scaled(maps[l] @ dots[l]) for l in range(1, count)}
            params[key]["values_0"] = {"linear": scaled(maps[0] @ dots[0]), "bias": bias @ dots[0]}
        return params

    def _linear(self, name: str, blocks_in: Blocks, blocks_out: Blocks) -> dict[int, np.ndarray]:
        """Returns an e3nn linear map, y = x W, as one matrix per degree; blocks are in order."""
        pairs = [
            (i, o)
            for i, (_, l_in) in enumerate(blocks_in)
            for o, (_, l_out) in enumerate(blocks_out)
            if l_in == l_out
        ]
        sizes = [blocks_in[i][0] * blocks_out[o][0] for i, o in pairs]
        flat = np.split(self.weights.take(name, sum(sizes)), np.cumsum(sizes)[:-1])
        parts = dict(zip(pairs, flat))
        matrices = {}
        for degree in {l for _, l in blocks_out} & {l for _, l in blocks_in}:
            ins = [i for i, (_, l) in enumerate(blocks_in) if l == degree]
            outs = [o for o, (_, l) in enumerate(blocks_out) if l == degree]
            rows = [
                np.concatenate(
                    [parts[i, o].reshape(blocks_in[i][0], blocks_out[o][0]) for o in outs], axis=1
                )
                for i in ins
            ]
            matrix = np.concatenate(rows)
            matrices[degree] = matrix / math.sqrt(len(matrix))
        return matrices
