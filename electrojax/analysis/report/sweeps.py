"""All runs that a report is asked for, those of sweeps with what the sweep says of them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electrojax.analysis.report.runs import NO_RUN, RunRecord, read_run, run_folders
from electrojax.errors import DataError

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
    try:
        content = json.loads(path.read_text())
        wishes, over = content.get("report", {}), content.get("report", {}).get("mean_over")
        points = {p["name"]: dict(p["values"]) for p in content["points"]}
        asked = Wishes(content["name"], tuple(wishes.get("metrics", ())), (over,) if over else ())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is damaged ({error}); run the sweep again to rewrite it"
        ) from None
    return Sheet(folder, asked, points)


def _point(folder: Path, values: Mapping[str, Any] | None) -> RunRecord:
    """A run, with what its sweep calls it and, unless it is finished, why the sweep says so."""
    if not folder.is_dir():
        return RunRecord(folder, folder.name, axes=values or {}, reason="waiting: nobody began it")
    told = _lines(folder / POINT)
    run = read_run(folder, values or (told[0].get("values") if told else None))
    ends = _lines(folder / ATTEMPTS)
    if not run.reason or not ends:
        return run
    last = ends[-1]
    ended = f"{last.get('state', 'stopped')}: {last.get('reason') or 'no reason is known'}"
    began = "under way, or its process was lost"
    if run.epochs:
        began = f"{began}; {run.reason}"
    reason = ended if last.get("event") == "end" else began
    return dataclasses.replace(run, reason=reason)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file or of JSON lines; what is torn is left out."""
    try:
        text = path.read_text()
    except OSError:
        return []
    found = []
    for part in [text] if path.suffix == ".json" else text.splitlines():
        try:
            value = json.loads(part)
        except ValueError:
            continue
        found += [value] if isinstance(value, dict) else []
    return found
