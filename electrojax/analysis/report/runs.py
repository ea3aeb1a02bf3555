"""Run folders as a report reads them: whatever state they are in, they are told about."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from electrojax.analysis.plots import epoch_records
from electrojax.analysis.predictions import CURVES, PREDICTIONS, StoredPredictions, read_predictions
from electrojax.errors import DataError
from electrojax.files import read_mapping, read_records
from electrojax.text import visible

Record = Mapping[str, Any]

NO_RUN = "needed a run folder (one with resolved.yaml and metrics.jsonl), or a folder of them"
PLACES = ("epoch", "step")
"""Numbers of a record that say where it stands and not what it measured."""

MARKS = ("resolved.yaml", "metrics.jsonl", "point.json")
"""Files by any of which a run folder is known; a sweep's point that never began has the last."""

SIMULATED = "thermo.jsonl"
"""The log of a molecular dynamics run, whose folder has a resolved.yaml too and no errors."""

DEPTH = 2
"""Folders below the one that is given in which runs are looked for."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run, finished or not.

    Attributes:
        folder: where it is.
        name: ``run.name``, or the folder's where nothing else is known.
        config: ``resolved.yaml``.
        environment: ``environment.json``.
        epochs: the metrics of each epoch.
        final: the metrics of the last evaluation; empty unless the run is finished.
        reason: why it is not finished; empty if it is.
        axes: what a sweep calls the values of its axes, by dotted key.
        predictions: of the last evaluation; None in folders of older versions.
        on_curves: predictions of structures on curves, of all splits; None where there are none.
        damage: what is wrong with files that a finished run can be told about without.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: Sequence[Record] = ()
    final: Record = dataclasses.field(default_factory=dict)
    reason: str = ""
    axes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    predictions: StoredPredictions | None = None
    on_curves: StoredPredictions | None = None
    damage: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """Its name, and what its sweep calls it, whose folders are named by a hash."""
        values = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in self.axes.items())
        return f"{self.name} ({values})" if values else self.name

    @property
    def seed(self) -> Any:
        """``run.seed``."""
        return self.config.get("run", {}).get("seed")

    @property
    def metrics(self) -> dict[str, float]:
        """Every number that is known of the run, by name.

        Errors are those of the last evaluation, and in training and validation of the epoch that
        was kept; ``time/step_ms`` is the median over epochs, ``time/training_s`` and
        ``time/compile_s`` are sums, ``memory/peak_mib`` is the largest.
        """
        kept = next((r for r in self.epochs if r["epoch"] == self.final.get("epoch")), {})
        named = {k: v for r in (kept, self.final) for k, v in r.items() if k not in PLACES}
        return {k: float(v) for k, v in (named | self._cost()).items() if _is_number(v)}

    def _cost(self) -> dict[str, float]:
        return {
            name: how(values)
            for name, source, how in (
                ("time/step_ms", "time/step_ms", statistics.median),
                ("time/training_s", "time/epoch_s", sum),
                ("time/compile_s", "time/compile_s", sum),
                ("memory/peak_mib", "memory/peak_mib", max),
            )
            if (values := [r[source] for r in self.epochs if _is_number(r.get(source))])
        }


def is_run(folder: Path) -> bool:
    """Returns whether a folder is one that a training run or a sweep made for it."""
    if (folder / SIMULATED).is_file() and not (folder / "metrics.jsonl").is_file():
        return False
    return any((folder / name).is_file() for name in MARKS)


def run_folders(path: Path) -> list[Path]:
    """Returns the run folders that a path stands for: itself, or those below it, by name.

    Raises:
        DataError: if it is no folder.
    """
    if not path.is_dir():
        missing = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{path}: {missing}; {NO_RUN}")
    return list(_below(path, DEPTH))


def read_run(folder: Path, axes: Mapping[str, Any] | None = None) -> RunRecord:
    """Returns what a run folder holds; damage is the reason why the run does not count.

    Args:
        folder: of the run.
        axes: the values of a sweep's axes there.
    """
    run = RunRecord(folder, folder.name, axes=axes or {})
    try:
        config = _mapping(folder / "resolved.yaml")
        _check_blocks("resolved.yaml", config, ("run", "data", "model", "train"))
        name = visible(str(config.get("run", {}).get("name", folder.name)))
        run = dataclasses.replace(run, config=config, name=name)
        environment = _mapping(folder / "environment.json")
        _check_blocks("environment.json", environment, ("data",))
        records = _records(folder / "metrics.jsonl")
        run = dataclasses.replace(run, environment=environment, epochs=epoch_records(records))
        final = _final(records)
        if not final:
            return dataclasses.replace(run, reason=_why(run, records))
        return _with_predictions(dataclasses.replace(run, final=final))
    except DataError as error:
        return dataclasses.replace(run, reason=str(error))


def _with_predictions(run: RunRecord) -> RunRecord:
    """The run with its stored predictions, as far as they are there and whole."""
    kept: list[StoredPredictions | None] = []
    damage: list[str] = []
    for path in (run.folder / PREDICTIONS, run.folder / CURVES):
        try:
            kept.append(read_predictions(path) if path.is_file() else None)
        except DataError as error:
            kept.append(None)
            damage.append(str(error))
    predictions, on_curves = kept
    return dataclasses.replace(
        run, predictions=predictions, on_curves=on_curves, damage=tuple(damage)
    )


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
    elif depth:
        for child in sorted(p for p in folder.iterdir() if p.is_dir()):
            yield from _below(child, depth - 1)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DataError(f"{path.name} is missing")
    return _beside(path, lambda: read_mapping(path))


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file, whose epochs are whole numbers."""
    records = _beside(path, lambda: read_records(path, strict=True))
    if not all(isinstance(record.get("epoch", 0), int) for record in records):
        raise DataError(f"{path.name} is damaged (an epoch is no whole number)")
    return records


T = TypeVar("T")


def _beside(path: Path, read: Callable[[], T]) -> T:
    """What is read; an error names the file without its folder, which the report names."""
    try:
        return read()
    except DataError as error:
        said = str(error).replace(str(path), path.name)
        raise DataError(said.replace(": is damaged", " is damaged", 1)) from None


def _check_blocks(name: str, content: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Checks that what is read below some keys is blocks.

    Raises:
        DataError: if it is something else.
    """
    for key in keys:
        if not isinstance(content.get(key, {}), dict):
            raise DataError(f"{name} is damaged ({key}: needed a block of keys)")


def _final(records: Sequence[dict[str, Any]]) -> Record:
    """The last evaluation, unless training went on after it."""
    told = [r for r in records if "event" not in r]
    return told[-1] if told and told[-1].get("final") else {}


def _why(run: RunRecord, records: Sequence[dict[str, Any]]) -> str:
    """What is known of a run that is not finished."""
    stops = [r["reason"] for r in records if r.get("event") == "stop" and "reason" in r]
    if stops:
        return str(stops[-1])
    planned = _planned(run.config.get("train", {}).get("stages"))
    where = f"after epoch {len(run.epochs)} of {planned}"
    if run.epochs and len(run.epochs) >= planned:
        where = "before the last evaluation"
    return f"stopped {where}; continue it with electrojax train --resume auto"


def _planned(stages: Any) -> int:
    """Epochs of all stages, as far as they are told."""
    told = stages if isinstance(stages, list) else []
    epochs = [stage.get("epochs") for stage in told if isinstance(stage, dict)]
    return sum(number for number in epochs if isinstance(number, int))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
