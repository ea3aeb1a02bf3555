"""All runs that a report is asked for, those of sweeps with what the sweep says of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electrojax.analysis.report.runs import NO_RUN, RunRecord, read_run, run_folders
from electrojax.errors import DataError
from electrojax.files import read_mapping, read_records
from electrojax.text import visible

INDEX = "sweep.json"
"""Beside the run folders of a sweep: its name, its points in order, what to report."""

POINT, ATTEMPTS = "point.json", "attempts.jsonl"
"""In the run folder of a point: what the sweep calls it, and how training it went."""


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a sweep file asks a report for.

    Attributes:
        title: the sweep's name.
        metrics: columns.
        mean_over: dotted keys.
    """

    title: str = ""
    metrics: tuple[str, ...] = ()
    mean_over: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The index of a sweep.

    Attributes:
        folder: of the sweep.
        wishes: what it asks a report for.
        points: the values of the axes by point, in order; a point's name is its folder's.
    """

    folder: Path
    wishes: Wishes
    points: Mapping[str, Mapping[str, Any]]


def read_all(paths: Sequence[Path]) -> tuple[list[RunRecord], Wishes]:
    """Returns the runs that paths stand for, each once and a sweep's in its order, and its wishes.

    Points of a sweep that nobody has begun are among them, without a folder.

    Raises:
        DataError: if a path is neither a run folder nor a sweep and holds none, or is damaged.
    """
    folders: dict[Path, None] = {}
    sheets: dict[Path, Sheet] = {}
    for path in (p.resolve() for p in paths):
        found = run_folders(path)
        parents = dict.fromkeys([path, *(f.parent for f in found if f != path)])
        sheets |= {p: _sheet(p) for p in parents if (p / INDEX).is_file()}
        if not found and path not in sheets:
            raise DataError(f"{path}: is no run folder and holds none; {NO_RUN}")
        folders |= dict.fromkeys(found)
    points = {s.folder / name: values for s in sheets.values() for name, values in s.points.items()}
    places = {folder: place for place, folder in enumerate(points)}
    ordered = sorted([*folders, *(points.keys() - folders)], key=lambda f: _place(f, places))
    runs = [_point(folder, points.get(folder)) for folder in ordered]
    return runs, next(iter(sheets.values())).wishes if len(sheets) == 1 else Wishes()


def _place(folder: Path, places: Mapping[Path, int]) -> tuple[int, str]:
    return places.get(folder, len(places)), str(folder)


def _sheet(folder: Path) -> Sheet:
    path = folder / INDEX
    content = read_mapping(path)
    try:
        wishes, over = content.get("report", {}), content.get("report", {}).get("mean_over")
        points = {_folder_name(p["name"]): dict(p["values"]) for p in content["points"]}
        asked = Wishes(
            visible(str(content["name"])),
            tuple(map(str, wishes.get("metrics", ()))),
            (str(over),) if over else (),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is damaged ({error}); run the sweep again to rewrite it"
        ) from None
    return Sheet(folder, asked, points)


def _point(folder: Path, values: Mapping[str, Any] | None) -> RunRecord:
    """A run, with what its sweep calls it and, unless it is finished, why the sweep says so."""
    if not folder.is_dir():
        return RunRecord(folder, folder.name, axes=values or {}, reason="waiting: nobody began it")
    told = _told(folder / POINT).get("values")
    run = read_run(folder, values or (told if isinstance(told, dict) else None))
    ends = read_records(folder / ATTEMPTS)
    if not run.reason or not ends:
        return run
    last = ends[-1]
    ended = f"{last.get('state', 'stopped')}: {last.get('reason') or 'no reason is known'}"
    began = "under way, or its process was lost"
    if run.epochs:
        began = f"{began}; {run.reason}"
    reason = ended if last.get("event") == "end" else began
    return dataclasses.replace(run, reason=reason)


def _told(path: Path) -> dict[str, Any]:
    """What the sweep calls a point; nothing where it does not say."""
    try:
        return read_mapping(path)
    except DataError:
        return {}


def _folder_name(name: Any) -> str:
    """The name of a folder inside the sweep's.

    Raises:
        ValueError: if it leads elsewhere.
    """
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError("the name of a point is none of a folder")
    return name
