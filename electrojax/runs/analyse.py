"""The job behind ``electrojax analyse``: a trajectory in, numbers and plots out."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from electrojax.analysis.fluctuations import dielectric_constant
from electrojax.analysis.plots import save_figure
from electrojax.analysis.spectra import infrared_spectrum
from electrojax.analysis.structure_factor import charge_structure_factor, reduced, wave_indices
from electrojax.analysis.transport import conductivity
from electrojax.data.hdf5 import is_hdf5
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.simulation.trajectory import read_hdf5
from electrojax.system.composition import symbols


class Settings(NamedTuple):
    """What an analysis is told beside the trajectory."""

    temperature: float
    k_max: float = 1.0
    formal_charges: Mapping[str, int] | None = None
    window: tuple[float, float] | None = None
    boundary: str = "tin-foil"
    optical: float = 1.0


class Curve(NamedTuple):
    """A curve with errors, its axes named with their units."""

    x_label: str
    y_label: str
    columns: dict[str, np.ndarray]


def read_trajectory(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a trajectory by name: HDF5 of ours, or any file that ASE reads.

    Raises:
        DataError: if it cannot be read, or its frames have different atoms.
    """
    if is_hdf5(path):
        return read_hdf5(path)
    import ase.io

    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        raise DataError(f"{path}: ASE cannot read it ({error})") from error
    for i, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise DataError(f"{path}: frame {i} has other atoms than frame 0; needed the same")
    arrays = {
        "numbers": frames[0].numbers,
        "positions": np.array([f.positions for f in frames]),
        "cell": np.array([f.cell.array for f in frames]),
        "pbc": frames[0].pbc,
    }
    for name in ("charges", "dipole"):
        if all(f.calc is not None and name in f.calc.results for f in frames):
            arrays[name] = np.array([f.calc.results[name] for f in frames])
    if all("time" in f.info for f in frames):
        arrays["time"] = np.array([f.info["time"] for f in frames])
    return arrays


def analyse_trajectory(
    path: Path, analyses: list[str], settings: Settings, output: Path
) -> dict[str, Any]:
    """Returns the numbers of the analyses; plots, CSV and JSON are written into a folder.

    Raises:
        ConfigError: for an analysis that is not there, or none.
        DataError: if the trajectory lacks what an analysis needs.
    """
    unknown = [name for name in analyses if name not in ANALYSES]
    if unknown or not analyses:
        raise ConfigError(f"analyses {unknown}; needed one or more of {', '.join(ANALYSES)}")
    arrays = {"path": np.asarray(str(path)), **read_trajectory(path)}
    # All are computed before anything is written.
    results = {name: ANALYSES[name](arrays, settings) for name in analyses}
    output.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        if isinstance(result, Curve):
            _write_curve(output / name, result)
    numbers = {
        name: {k: v.tolist() for k, v in r.columns.items()} if isinstance(r, Curve) else r
        for name, r in results.items()
    }
    write_whole(output / "analysis.json", (json.dumps(numbers, indent=1) + "\n").encode())
    return numbers


def _structure_factor(arrays: Mapping[str, np.ndarray], settings: Settings) -> Curve:
    where, charges, cell = _need(arrays, "structure-factor", "positions", "charges", "cell")
    if not np.all(arrays["pbc"]):
        raise DataError(f"{arrays['path']}: structure-factor needs a cell periodic in all three "
                        f"directions, got pbc {arrays['pbc'].tolist()}")  # fmt: skip
    indices = wave_indices(cell if cell.ndim == 2 else cell.mean(axis=0), settings.k_max)
    whole = charge_structure_factor(where, cell, charges, indices)
    scaled = reduced(whole, settings.temperature)
    columns = {
        "k_1_per_A": np.linalg.norm(whole.k, axis=1),
        "reduced": scaled.value,
        "reduced_error": scaled.error,
        "S_e2_per_A3": whole.value,
        "S_error_e2_per_A3": whole.error,
    }
    return Curve("k (1/Å)", "S_QQ/(k_BT ε0 k²)", columns)


def _dielectric(arrays: Mapping[str, np.ndarray], settings: Settings) -> dict[str, Any]:
    dipoles, cell = _need(arrays, "dielectric", "dipole", "cell")
    if not np.all(arrays["pbc"]):
        raise DataError(f"{arrays['path']}: dielectric needs a bulk, periodic in all three "
                        f"directions, got pbc {arrays['pbc'].tolist()}")  # fmt: skip
    chosen = settings.temperature, settings.boundary, settings.optical
    got = dielectric_constant(dipoles, _volume(cell), *chosen)
    return {"epsilon": float(got.value), "error": float(got.error), "boundary": settings.boundary}


def _infrared(arrays: Mapping[str, np.ndarray], settings: Settings) -> Curve:
    dipoles, cell, times = _need(arrays, "infrared", "dipole", "cell", "time")
    got = infrared_spectrum(dipoles, times, _volume(cell), settings.temperature)
    columns = {"wavenumber_1_per_cm": got.wavenumber, "value": got.value, "error": got.error}
    return Curve("wavenumber (1/cm)", "n α (1/cm), harmonic correction", columns)


def _conductivity(arrays: Mapping[str, np.ndarray], settings: Settings) -> dict[str, Any]:
    where, cell, times = _need(arrays, "conductivity", "positions", "cell", "time")
    elements, given = symbols(arrays["numbers"]), settings.formal_charges or {}
    missing = sorted(set(elements) - set(given))
    if missing or settings.window is None:
        raise ConfigError(
            f"conductivity: needed a window in fs (got {settings.window}) and formal charges; "
            f"elements without a formal charge: {', '.join(missing) or 'none'}; "
            "predicted charges times velocities are not the current"
        )
    lattice = cell if cell.ndim == 2 else cell.mean(axis=0)
    jumps = np.abs(np.diff(where, axis=0) @ np.linalg.inv(lattice))
    if jumps.max() > 0.5:
        raise DataError(f"{arrays['path']}: an atom jumps by {jumps.max():.2f} of a lattice vector "
                        "between frames; conductivity needs unwrapped positions")  # fmt: skip
    charges = np.array([given[s] for s in elements], float)
    got = conductivity(where, charges, times, _volume(cell), settings.temperature, settings.window)
    numbers = {
        f"{name}_S_per_m": [float(getattr(got, name).value), float(getattr(got, name).error)]
        for name in ("einstein", "green_kubo", "nernst_einstein")
    }
    return {**numbers, "ratio": got.ratio, "haven": got.haven}


ANALYSES = {
    "structure-factor": _structure_factor,
    "dielectric": _dielectric,
    "infrared": _infrared,
    "conductivity": _conductivity,
}
"""Name of an analysis on the command line: its function."""


def _need(arrays: Mapping[str, np.ndarray], analysis: str, *names: str) -> list[np.ndarray]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{arrays['path']}: {analysis} needs {', '.join(missing)} in every frame")
    return [arrays[name] for name in names]


def _volume(cell: np.ndarray) -> float:
    return float(np.mean(np.abs(np.linalg.det(cell))))


def _write_curve(stem: Path, curve: Curve) -> None:
    from matplotlib.figure import Figure

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(curve.columns)
    writer.writerows(zip(*(c.tolist() for c in curve.columns.values())))
    write_whole(stem.with_suffix(".csv"), text.getvalue().encode())
    x, y, error = list(curve.columns.values())[:3]
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.errorbar(x, y, error, fmt=".", capsize=2, linewidth=0.8)
    axes.set(xlabel=curve.x_label, ylabel=curve.y_label)
    save_figure(figure, stem.with_suffix(".png"))
