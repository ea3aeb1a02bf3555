"""Predictions and errors over a whole data set."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from electrojax.models.prediction import Prediction
from electrojax.system.types import Batch
from electrojax.training.metrics import Sums
from electrojax.training.step import EvalStep, Params

IN_FLIGHT = 2
"""Batches that the device may be ahead of the host."""


class Loader(Protocol):
    """Anything that hands out the batches of an epoch, the same ones for the same number."""

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        ...

    def epoch(self, number: int) -> Iterable[tuple[Batch, Sequence[int]]]:
        """Returns batches, each with the indices of its structures in the data set, in order."""
        ...


@dataclasses.dataclass(frozen=True)
class SamplePrediction:
    """What a model predicts for one structure of a data set, without padding.

    Attributes:
        energy: eV, **relative to the sum of the atomic energies**, as the labels are.
        energies: eV by name; the terms add up to ``energy``.
        forces: [n, 3] eV/Å.
        stress: [3, 3] eV/Å³, positive = tension; zero for open boundaries.
        multipoles: [n, M] e·Å^l in the order [q, y, z, x, ...], density channels summed.
        charges: [n] e.
        dipole: [3] e·Å about the origin; meaningful for open boundaries only.
        fermi_level: eV.
        converged: whether the charge solver converged.
        solver_steps: its number of iterations.
    """

    energy: float
    energies: Mapping[str, float]
    forces: np.ndarray
    stress: np.ndarray
    multipoles: np.ndarray
    charges: np.ndarray
    dipole: np.ndarray
    fermi_level: float
    converged: bool
    solver_steps: int


def evaluate(
    eval_step: EvalStep,
    params: Params,
    loader: Loader,
    provides: Iterable[str],
    prefix: str = "test",
    weights: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], list[SamplePrediction]]:
    """Returns the errors of a model on a data set, and its predictions in the set's order.

    Args:
        eval_step: from :func:`electrojax.training.step.make_eval_step`.
        params: the parameters.
        loader: batches of the data set; epoch 0 is read.
        provides: the quantities that the model predicts; others are not compared.
        prefix: of the metric names.
        weights: of the loss; ``{prefix}/loss`` is left out without them.

    Returns:
        Metrics by name (:meth:`electrojax.training.metrics.Sums.metrics`), ``scf/steps`` and
        ``scf/unconverged``; and one prediction per structure.
    """
    sums, found = Sums(), dict[int, SamplePrediction]()
    provided = tuple(provides)
    for batch, indices, prediction in predict_batches(eval_step, params, loader.epoch(0)):
        sums.add_prediction(prediction, batch, provided)
        found.update(zip((int(i) for i in indices), split(prediction, batch)))
    metrics = summary(sums, prefix, weights) | sums.solver_metrics()
    return metrics, [found[i] for i in sorted(found)]


def summary(sums: Sums, prefix: str, weights: Mapping[str, float] | None) -> dict[str, float]:
    """Returns the loss, if weights are given and a label for them exists, and the errors."""
    labelled = any(
        sums.terms[n]["entries"] for n, w in (weights or {}).items() if w and n in sums.terms
    )
    head = {f"{prefix}/loss": sums.loss(weights)} if weights and labelled else {}
    return head | sums.metrics(prefix)


def predict_batches(
    eval_step: EvalStep, params: Params, batches: Iterable[tuple[Batch, Sequence[int]]]
) -> Iterator[tuple[Batch, Sequence[int], Prediction]]:
    """Yields every batch with its prediction on the host; the device works ahead meanwhile."""
    waiting: deque[tuple[Batch, Sequence[int], Any]] = deque()
    for batch, indices in batches:
        waiting.append((batch, indices, eval_step(params, batch.system)))
        if len(waiting) > IN_FLIGHT:
            yield _fetched(*waiting.popleft())
    while waiting:
        yield _fetched(*waiting.popleft())


def split(prediction: Prediction, batch: Batch) -> Iterator[SamplePrediction]:
    """Yields the parts of a batch's prediction that belong to each of its real structures.

    Args:
        prediction: of the batch, on the host.
        batch: inputs and labels; the atoms of a structure are contiguous.
    """
    system = batch.system
    graphs = int(np.sum(system.graph_mask))
    owner = np.asarray(system.node_graph)[np.asarray(system.node_mask)]
    stops = np.cumsum(np.bincount(owner, minlength=graphs))
    multipoles = np.asarray(prediction.density.multipoles).sum(axis=1)
    for graph, stop in enumerate(stops):
        atoms = slice(int(stops[graph - 1]) if graph else 0, int(stop))
        yield SamplePrediction(
            energy=float(prediction.energy[graph]),
            energies={k: float(v[graph]) for k, v in prediction.energies.items()},
            forces=np.asarray(prediction.forces[atoms]),
            stress=np.asarray(prediction.stress[graph]),
            multipoles=multipoles[atoms],
            charges=multipoles[atoms, 0],
            dipole=np.asarray(prediction.dipole[graph]),
            fermi_level=float(prediction.fermi_level[graph]),
            converged=bool(prediction.report.converged[graph]),
            solver_steps=int(prediction.report.steps[graph]),
        )


def _fetched(
    batch: Batch, indices: Sequence[int], prediction: Any
) -> tuple[Batch, Sequence[int], Prediction]:
    return batch, indices, jax.device_get(prediction)
