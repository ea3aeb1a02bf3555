"""A trained model on a data file: metrics, predictions beside their labels, parity plots."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from electrojax.analysis.baseline import baseline_metrics, checked_means
from electrojax.analysis.predictions import gather
from electrojax.data.dataset import stored_split
from electrojax.data.datasets import resolve_source
from electrojax.data.extxyz import write_frames
from electrojax.data.hdf5 import is_hdf5
from electrojax.data.hdf5_writer import write_hdf5
from electrojax.data.loader import Loader, plan_buckets, prepare
from electrojax.data.reader import other_names, parse_keys, read_frames
from electrojax.errors import ConvergenceError, DataError, listed
from electrojax.files import write_whole
from electrojax.models import bundle
from electrojax.models.potential import Potential
from electrojax.models.predict import StructurePrediction, blank_undefined
from electrojax.runs.inputs import check_embedded, reading_warnings
from electrojax.runs.train import save_parity_plots
from electrojax.system.atoms import atoms_from_frame
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, LABELS, QUANTITIES
from electrojax.system.types import Frame
from electrojax.training.evaluation import evaluate
from electrojax.training.step import make_eval_step
from electrojax.typing import Reporter

COMPARED = ("energy", "forces")
"""Labels that a data file is expected to have."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model compared with the labels of a data set.

    Attributes:
        model: with its Coulomb sums tuned for the structures, and the responses that are labelled.
        metrics: errors by name, in the units of a run folder's metrics.
        predictions: of every structure, energies relative to the atomic energies (eV, Å, e).
        labels: of every structure, energies likewise relative.
    """

    model: Potential
    metrics: dict[str, float]
    predictions: list[StructurePrediction]
    labels: list[Mapping[str, np.ndarray]]


def evaluate_file(
    model_file: Path,
    data: str,
    output: Path | None,
    metrics_file: Path | None,
    plots: Path | None,
    split: str | None,
    keys: Sequence[str],
    batch_edges: int,
    report: Reporter,
    plugins: Sequence[str] = (),
    head: str = "",
) -> dict[str, float]:
    """Returns the errors of a model on a data file, and writes what was asked for.

    Args:
        model_file: a model.ejx.
        data: an extxyz file or ``builtin:NAME``.
        output: a file to write predictions into beside the labels, HDF5 or extxyz by its suffix.
        metrics_file: JSON to write.
        plots: folder for parity plots.
        split: only the frames of this stored split.
        keys: ``LABEL=NAME`` texts.
        batch_edges: neighbour pairs computed at once.
        report: receives a warning, if nothing there tells how good energies and forces are.
        plugins: ``module:Class`` of kinds that are not electrojax's own.
        head: which head, of a model with several.

    Raises:
        ConfigError, DataError: for a wrong model, file, key or structure, or a file to write that
            is one of those read; nothing is written then.
        ConvergenceError: if a prediction is not finite; nothing is written either.
    """
    source, named = resolve_source(data), parse_keys(keys)
    for option, target in (("--output", output), ("--metrics", metrics_file)):
        _refuse_input(option, target, (model_file, source))
    model = bundle.load(model_file, plugins, head)
    frames = read_frames(source, named)
    if split is not None:
        frames = stored_split(frames, split, data)
    if not any(frame.labels.keys() & COMPARED for frame in frames):
        report(f"warning: {_nothing_to_compare(source, named)}")
    check_embedded(frames, model)
    for warning in reading_warnings({data: frames}, model, quantities=tuple(INPUTS)):
        report(f"warning: {warning}")
    done = evaluate_frames(model, frames, batch_edges)
    done.metrics.update(_baselines(model_file, done, frames))
    if output is not None:
        _write_predictions(output, done.model, frames, done.predictions)
    if metrics_file is not None:
        write_whole(metrics_file, (json.dumps(done.metrics, indent=1) + "\n").encode())
    if plots is not None:
        named_splits = [split or ""] * len(frames)
        told = list(zip(named_splits, frames, done.labels, done.predictions, strict=True))
        save_parity_plots(told, done.model, plots, Path(data).name)
    return done.metrics


def evaluate_frames(
    model: Potential, frames: Sequence[Frame], batch_edges: int = 20_000
) -> Evaluation:
    """Returns the errors and predictions of a model on labelled structures.

    Args:
        model: with its parameters.
        frames: from :func:`electrojax.read_frames`.
        batch_edges: neighbour pairs computed at once.

    Raises:
        DataError: for a structure that the model cannot evaluate.
        ConvergenceError: if a prediction is not finite.
    """
    for frame in frames:
        model.check(frame)
    model = model.tuned_for(frames).with_labelled_responses(frames).with_diagnostics()
    with jax.enable_x64(model.precision == "float64"):
        samples = prepare(frames, model.statistics, model.sample)
        largest = max(sample.system.n_edges for sample in samples)
        plan = plan_buckets(samples, edges=max(batch_edges, largest), buckets=3)
        loader = Loader(samples, plan, model.dtype, 0, shuffle=False)
        step = make_eval_step(model.apply)
        metrics, predictions = evaluate(step, model.params, loader, model.provides)
    _require_numbers(frames, predictions)
    predictions = [blank_undefined(model, s, p) for s, p in zip(samples, predictions)]
    return Evaluation(model, metrics, predictions, [sample.labels for sample in samples])


def _baselines(model_file: Path, done: Evaluation, frames: Sequence[Frame]) -> Mapping[str, float]:
    """The errors of the mean of the model's own training set, where its file knows that."""
    means = checked_means(bundle.notes(model_file).get("training_means", {}))
    if not means:
        return {}
    splits = ["test"] * len(frames)
    stored = gather(splits, frames, done.labels, done.predictions, done.model.provides)
    return baseline_metrics(stored, means, "test")


def _require_numbers(frames: Sequence[Frame], predictions: Sequence[StructurePrediction]) -> None:
    """Raises a ConvergenceError for energies or forces that are not numbers."""
    for frame, prediction in zip(frames, predictions):
        if not (np.isfinite(prediction.energy) and np.all(np.isfinite(prediction.forces))):
            raise ConvergenceError(
                f"{frame.source}: the predicted energy or forces are not finite; "
                "the model's parameters are too large for its precision, or were not trained"
            )


def _refuse_input(option: str, target: Path | None, sources: Sequence[Path]) -> None:
    """Refuses to write over a file that is read: its labels would be lost."""
    for source in sources:
        if target is not None and target.exists() and source.exists() and target.samefile(source):
            raise DataError(
                f"{option} {target}: is the file {source} that is read, and would be lost; "
                "choose another name"
            )


def _nothing_to_compare(path: Path, keys: Mapping[str, str]) -> str:
    """Says that energies and forces have no labels, and by which names they may be there."""
    missing = f"no {' or '.join(COMPARED)} in {path.name} to compare"
    found = other_names(path, keys)
    if is_hdf5(path) and not found:
        return missing
    names = [name for name in found if not name.startswith("electrojax_")]
    likely = {
        label: min(near, key=len)
        for label in COMPARED
        if (near := [name for name in names if label in name.lower()])
    }
    options = " ".join(f"--key {label}={name}" for label, name in likely.items())
    hint = f"; name them with {options}" if options else ""
    return f"{missing}; other names there: {listed(names)}{hint}"


def _write_predictions(
    output: Path,
    model: Potential,
    frames: Sequence[Frame],
    predictions: Sequence[StructurePrediction],
) -> None:
    pairs = list(zip(frames, predictions))
    if is_hdf5(output):
        write_hdf5(output, frames, [predictions_by_name(model, f, p) for f, p in pairs])
    else:
        write_frames(output, [predicted_atoms(model, f, p) for f, p in pairs])


def predicted_atoms(model: Potential, frame: Frame, prediction: StructurePrediction) -> Any:
    """Returns a structure with its labels and predictions.

    Labels have their default names (``REF_energy`` ...); predictions are ``electrojax_energy`` (eV,
    atomic energies included), ``electrojax_forces`` and so on.
    """
    atoms = atoms_from_frame(frame)
    # A charge of zero is written too: models that condition on it refuse a file without it.
    atoms.info.update(total_charge=frame.total_charge, multiplicity=frame.multiplicity)
    for name, row in INPUTS.items():
        if name in frame.given or (name == "external_field" and np.any(frame.external_field)):
            _store(atoms, row.key, row.axis, np.asarray(getattr(frame, name)))
    for name, value in frame.labels.items():
        _store(atoms, DEFAULT_KEYS[name], LABELS[name].axis, np.asarray(value))
    for name, value in predictions_by_name(model, frame, prediction).items():
        axis = QUANTITIES[name].axis if name in QUANTITIES else "graphs"
        _store(atoms, f"electrojax_{name}", axis, np.asarray(value))
    return atoms


def predictions_by_name(
    model: Potential, frame: Frame, prediction: StructurePrediction
) -> Mapping[str, Any]:
    """Returns what a model predicts for a frame, by name, in eV, Å and e.

    ``energy_polarization`` is −∂E/∂(external field), where it is not the polarisation.
    ``chemical_potential`` is −∂E/∂q of each atom in eV, and ``spin_multipoles`` n_α − n_β in
    electrons·Å^l, of solvers that know them.
    """
    atomic = model.atomic_energy(frame.numbers)
    found: dict[str, Any] = {
        name: prediction.value(name)
        for name in LABELS
        if name in model.provides and frame.boundary in QUANTITIES[name].boundaries
    }
    found["energy"] = prediction.energy + atomic
    if "polarization" in found and not model.network.solver.consistent:
        found["energy_polarization"] = prediction.energy_polarization
    if "fermi_level" in model.provides:
        found["chemical_potential"] = prediction.chemical_potential
    if model.network.solver.has_spin:
        found["spin_multipoles"] = prediction.spin_multipoles
    return {**found, "converged": prediction.converged}


def _store(atoms: Any, name: str, axis: str, value: np.ndarray) -> None:
    """Puts a value where extxyz keeps it: per-atom columns or the comment line."""
    if axis == "nodes":
        atoms.arrays[name] = value.reshape(len(atoms), -1) if value.ndim > 1 else value
    else:
        atoms.info[name] = value.item() if value.ndim == 0 else value
