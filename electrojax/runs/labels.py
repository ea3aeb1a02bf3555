"""Whether the labels of the frames are there that losses and early stop ask for."""

from collections.abc import Mapping, Sequence

import numpy as np

from electrojax.config.resolve import LoadedRun
from electrojax.models.potential import Potential
from electrojax.system.quantities import QUANTITIES, REQUIRES, quantity_of
from electrojax.system.types import Frame


def trains_on(run: LoadedRun, name: str) -> bool:
    """Returns whether a stage has a loss term of that name."""
    return any(getattr(stage.loss, name) for stage in run.config.train.stages)


def watched_metric(run: LoadedRun) -> str:
    """Returns the metric by which training keeps parameters and stops."""
    stop = run.config.train.early_stop
    return stop.metric if stop else "valid/loss"


def watches(run: LoadedRun, name: str) -> bool:
    """Returns whether a stage may end by the error of that quantity."""
    row = quantity_of(_part(watched_metric(run)))
    return row is not None and row.name == name


def check_loss_labels(run: LoadedRun, frames: Sequence[Frame], potential: Potential) -> None:
    """Checks that every loss term has something to compare in the training set.

    Raises:
        ConfigError: at the term that would train on nothing.
    """
    for index, stage in enumerate(run.config.train.stages):
        for name, weight in stage.loss.model_dump().items():
            if weight and not any(_compared(name, frame, potential) for frame in frames):
                reason = _reason(run, name, frames)
                raise run.provenance.error(f"train.stages.{index}.loss.{name}", reason)


def check_watched(run: LoadedRun, frames: Sequence[Frame], potential: Potential) -> None:
    """Checks that the metric that training watches is measured on the validation set.

    Args:
        run: the configuration.
        frames: of the validation set; without any, nothing is watched.
        potential: the model.

    Raises:
        ConfigError: at the metric, or at the validation set where none was asked for.
    """
    metric = watched_metric(run)
    place = "train.early_stop.metric" if run.config.train.early_stop else "data.valid"
    if not frames:
        return
    if metric == "valid/loss":
        for stage in run.config.train.stages:
            terms = [name for name, weight in stage.loss.model_dump().items() if weight]
            if not any(_compared(n, f, potential) and f.weight for n in terms for f in frames):
                raise run.provenance.error(
                    place,
                    f'valid/loss of stage "{stage.name}" is never measured: no validation frame '
                    f"of weight above 0 has a label of its terms ({', '.join(terms)}) where it is "
                    "defined; add labels, or train without a validation set",
                )
    elif reason := _unmeasured(metric, frames, potential):
        raise run.provenance.error(place, f"{metric} is never measured: {reason}")


def _part(metric: str) -> str:
    """What a metric measures the error of, such as multipoles_l1; empty for the loss."""
    return metric.removeprefix("valid/").removesuffix("_relative").rpartition("_")[0]


def _unmeasured(metric: str, frames: Sequence[Frame], potential: Potential) -> str:
    """Why an error is not measured on the validation set; empty if it is."""
    part = _part(metric)
    row = quantity_of(part)
    assert row is not None  # the schema knows the names of metrics
    if REQUIRES[row.name] not in potential.provides:
        return f"this model predicts no {REQUIRES[row.name]} (it predicts {_listed(potential)})"
    compared = [frame for frame in frames if _compared(row.name, frame, potential)]
    if not compared:
        return f"no validation frame has a label of {row.name} where it is defined; watch another"
    order = int(part[-1]) if part != row.name else 0
    sizes = [np.shape(frame.labels[row.name])[-1] for frame in compared if row.components]
    known = (potential.network.solver.l_max + 1) ** 2
    if sizes and min(max(sizes), known) < (order + 1) ** 2:
        return f"labels or density have no order l = {order}; watch {row.name}_l0 or another"
    if metric.endswith("_relative") and not any(np.any(f.labels[row.name]) for f in compared):
        return f"every label of {row.name} is zero; watch {row.name}_rmse"
    return ""


def _listed(potential: Potential) -> str:
    return ", ".join(potential.provides)


def _compared(name: str, frame: Frame, potential: Potential) -> bool:
    """Whether a frame has a label of a quantity, or needs none, and its boundary defines it."""
    row = QUANTITIES[name]
    if name == "legendre_gap":
        control = frame.charge_control or potential.config["solver"].get("charge_control", "")
        return control != "fixed_potential"
    return (row.role != "label" or name in frame.labels) and frame.boundary in row.boundaries


def _reason(run: LoadedRun, name: str, frames: Sequence[Frame]) -> str:
    row = QUANTITIES[name]
    if name == "legendre_gap":
        return "every training frame is at fixed potential, where it says nothing; set it to 0"
    if not any(name in frame.labels for frame in frames):
        key = getattr(run.config.data.keys, name)
        return (
            f'no training frame has this label ("{key}" in the file); '
            f"correct data.keys.{name} or set the weight to 0"
        )
    there: Mapping[str, None] = dict.fromkeys(f.boundary for f in frames if name in f.labels)
    return (
        f"every training frame with this label is {' or '.join(there)}, where {name} is not "
        f"defined; needed boundary {' or '.join(row.boundaries)} (pbc and a cell in the file), or "
        "set the weight to 0"
    )
