"""Errors of predictions, summed on the host in float64."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from electrojax.models.prediction import Prediction
from electrojax.system.quantities import (
    DIAGNOSTICS,
    ERROR_UNITS,
    QUANTITIES,
    REQUIRES,
    quantity_of,
)
from electrojax.system.types import Batch
from electrojax.training.residuals import per_graph_to, residual

FIELDS = (
    "loss_square",
    "loss_count",
    "entries",
    "square",
    "absolute",
    "reference",
    "reference_square",
)


@dataclasses.dataclass
class Sums:
    """Running sums over batches; JSON-able, so that a checkpoint can hold half an epoch.

    Attributes:
        terms: by quantity, the sums named in ``FIELDS`` in internal units.
        graphs: number of structures.
        unconverged: how many of them the charge solver did not converge.
        solver_steps: its iterations, summed over them.
        steps: number of batches.
        gradient_norm: summed over batches.
    """

    terms: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    graphs: int = 0
    unconverged: int = 0
    solver_steps: int = 0
    steps: int = 0
    gradient_norm: float = 0.0

    def add(self, name: str, **values: Any) -> None:
        """Adds to the sums of one quantity."""
        term = self.terms.setdefault(name, dict.fromkeys(FIELDS, 0.0))
        for field, value in values.items():
            term[field] += float(value)

    def add_report(self, graphs: Any, unconverged: Any, solver_steps: Any) -> None:
        """Counts structures and how the charge solver fared with them."""
        self.graphs += int(graphs)
        self.unconverged += int(unconverged)
        self.solver_steps += int(solver_steps)

    def add_step(self, head: Mapping[str, float], terms: Mapping[str, Mapping[str, float]]) -> None:
        """Adds what one training step reported."""
        self.add_report(head["graphs"], head["unconverged"], head["solver_steps"])
        self.steps += 1
        self.gradient_norm += head["gradient_norm"]
        for name, term in terms.items():
            self.add(name, **term)

    def add_prediction(self, prediction: Prediction, batch: Batch, provides: Iterable[str]) -> None:
        """Adds a batch's errors for every quantity that the model provides and a label exists for.

        Args:
            prediction: of the batch, on the host.
            batch: inputs and labels.
            provides: the quantities that the model predicts.
        """
        prediction, batch = _double(prediction), _double(batch)
        system, report = batch.system, prediction.report
        real = np.asarray(system.graph_mask)
        self.add_report(
            real.sum(), (real & ~report.converged).sum(), np.where(real, report.steps, 0).sum()
        )
        atoms = np.maximum(_graph_sum(np.ones(system.n_nodes), batch), 1.0)
        provided = set(provides)
        for name, needed in REQUIRES.items():
            if needed in provided:
                self._add_quantity(name, prediction, batch, atoms)

    def _add_quantity(
        self, name: str, prediction: Prediction, batch: Batch, atoms: np.ndarray
    ) -> None:
        part = residual(name, prediction, batch, lambda v: _graph_sum(v, batch), atoms)
        mask = np.broadcast_to(part.mask, part.predicted.shape)
        if not mask.any():
            return
        system, weights = batch.system, np.asarray(batch.targets.weight)
        factor = 1 / atoms if part.per_atom else np.ones_like(atoms)
        delta = np.where(mask, part.predicted - part.reference, 0.0)
        counts = prediction.report.converged & (weights > 0)
        counted = mask & (_column(part.axis, counts, system) > 0)
        weight = _column(part.axis, weights * factor**2, system)
        self.add(
            name,
            loss_square=np.sum(np.where(counted, delta, 0.0) ** 2 * weight),
            loss_count=np.sum(counted),
        )
        self._add_errors(name, delta, part.reference, mask)
        if QUANTITIES[name].components:
            for order in range(round(mask.shape[1] ** 0.5)):
                block = slice(order**2, (order + 1) ** 2)
                self._add_errors(
                    f"{name}_l{order}",
                    delta[:, block],
                    part.reference[:, block],
                    mask[:, block],
                )

    def _add_errors(
        self, name: str, delta: np.ndarray, reference: np.ndarray, mask: np.ndarray
    ) -> None:
        labels = np.where(mask, reference, 0.0)
        self.add(
            name,
            entries=np.sum(mask),
            square=np.sum(delta**2),
            absolute=np.sum(np.abs(delta)),
            reference=np.sum(labels),
            reference_square=np.sum(labels**2),
        )

    def loss(self, weights: Mapping[str, float]) -> float:
        """Returns Σ λ_k Σ w (f Δ)² / n_k over everything added: the loss of one large batch.

        NaN if nothing counted, for want of labels or of structures that converged.
        """
        counted = {n: t for n, t in self.terms.items() if weights.get(n) and t["loss_count"]}
        parts = [weights[n] * t["loss_square"] / t["loss_count"] for n, t in counted.items()]
        return sum(parts) if parts else math.nan

    @property
    def finite(self) -> bool:
        """Whether every sum is a finite number."""
        return all(math.isfinite(v) for term in self.terms.values() for v in term.values())

    def metrics(self, prefix: str) -> dict[str, float]:
        """Returns the errors, such as ``valid/forces_rmse``, in the units of ``ERROR_UNITS``.

        RMSE = √(Σ Δ²/n), MAE = Σ |Δ|/n, R² = 1 − Σ Δ² / Σ (y − ȳ)², over exactly the n labelled
        entries of real atoms or structures, whether the charge solver converged or not;
        ``forces_rmse_relative`` is the RMSE over the RMS of the reference forces. Quantities
        without labels are absent; for what the solver says of itself see ``diagnostics``.
        """
        found: dict[str, float] = {}
        for name, term in self.terms.items():
            if name not in DIAGNOSTICS:
                found |= _errors(f"{prefix}/{name}", name, term)
        return found

    def diagnostics(self) -> dict[str, float]:
        """Returns what the solver said of itself, ``scf/legendre_gap`` and the like.

        Each is the RMS of what its loss term is made of, over all structures that are meant; absent
        where the solver was not asked.
        """
        return {
            f"scf/{name}": math.sqrt(term["square"] / term["entries"]) * ERROR_UNITS[name][1]
            for name, term in self.terms.items()
            if name in DIAGNOSTICS and term["entries"]
        }

    def solver_metrics(self) -> dict[str, float]:
        """Returns mean iterations and unconverged share of the solver, and its diagnostics."""
        graphs = max(self.graphs, 1)
        return {
            "scf/steps": self.solver_steps / graphs,
            "scf/unconverged": self.unconverged / graphs,
            **self.diagnostics(),
        }

    def plain(self) -> dict[str, Any]:
        """Returns the sums as plain data."""
        return dataclasses.asdict(self)


def _errors(key: str, name: str, term: Mapping[str, float]) -> dict[str, float]:
    n = term["entries"]
    if not n:
        return {}
    row = quantity_of(name)
    scale = 1.0 if row is None else row.error_scale
    rmse = np.sqrt(term["square"] / n)
    found = {f"{key}_rmse": float(rmse * scale), f"{key}_mae": float(term["absolute"] / n * scale)}
    if term["reference_square"] > 0:
        if name == "forces":
            found[f"{key}_rmse_relative"] = float(rmse / np.sqrt(term["reference_square"] / n))
        spread = term["reference_square"] - term["reference"] ** 2 / n
        if spread > 1e-12 * term["reference_square"]:
            found[f"{key}_r2"] = float(1 - term["square"] / spread)
    return found


def _double(tree: Any) -> Any:
    """Returns NumPy copies with every real number in float64."""

    def convert(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf)
        return values.astype(np.float64) if values.dtype.kind == "f" else values

    return jax.tree.map(convert, tree)


def _graph_sum(values: np.ndarray, batch: Batch) -> np.ndarray:
    graphs = batch.system.n_graphs
    return np.bincount(batch.system.node_graph, values, minlength=graphs + 1)[:graphs]


def _column(axis: str, values: Any, system: Any) -> np.ndarray:
    return per_graph_to(axis, values, system, lambda v: np.append(v, np.zeros(1, v.dtype)))
