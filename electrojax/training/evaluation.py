"""Predictions and errors over a whole data set."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from electrojax.models.predict import StructurePrediction, split_prediction
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


def evaluate(
    eval_step: EvalStep,
    params: Params,
    loader: Loader,
    provides: Iterable[str],
    prefix: str = "test",
    weights: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], list[StructurePrediction]]:
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
    sums, found = Sums(), dict[int, StructurePrediction]()
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


def split(prediction: Prediction, batch: Batch) -> Iterator[StructurePrediction]:
    """Yields the parts of a batch's prediction that belong to each of its real structures.

    Args:
        prediction: of the batch, on the host.
        batch: inputs and labels; the atoms of a structure are contiguous.
    """
    system = batch.system
    owner = np.asarray(system.node_graph)[np.asarray(system.node_mask)]
    sizes = np.bincount(owner, minlength=int(np.sum(system.graph_mask)))
    yield from split_prediction(prediction, sizes.tolist())


def _fetched(
    batch: Batch, indices: Sequence[int], prediction: Any
) -> tuple[Batch, Sequence[int], Prediction]:
    return batch, indices, jax.device_get(prediction)
