"""Pictures of a trajectory's log."""

import io
import os
from typing import Any

import numpy as np

from electrojax.files import read_records


def read_thermo(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the lines of a thermo.jsonl; a last line that is not whole is left out.

    Raises:
        DataError: if another line is damaged.
    """
    return read_records(path, strict=True)


def thermo_plot(path: str | os.PathLike) -> bytes:
    """Returns a PNG of temperature and energy against time.

    Args:
        path: a thermo.jsonl; times in fs, temperatures in K, energies in eV.
    """
    from matplotlib.figure import Figure

    records = read_thermo(path)
    time = _column(records, "time_fs") / 1000.0
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    temperature = _column(records, "temperature")
    top.plot(time, temperature, linewidth=0.8)
    top.axhline(np.nanmean(temperature), color="black", linewidth=0.8, linestyle="dashed")
    top.set_ylabel("temperature (K)")
    for name in ("potential", "total", "conserved"):
        values = _column(records, name)
        if np.all(np.isfinite(values)):
            bottom.plot(time, values - values[0], label=name, linewidth=0.8)
    bottom.set_ylabel("energy − first (eV)")
    bottom.set_xlabel("time (ps)")
    bottom.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _column(records: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if r.get(name) is None else r[name] for r in records], dtype=float)
