"""The README's training and simulation after installation, each timed as a whole command.

Also makes the README's pictures, benchmarks/results/quickstart.png and quickstart_md.png, from the
runs' own plots.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import matplotlib.image
from matplotlib.figure import Figure

METRICS = (
    "test/forces_rmse_relative",
    "test/forces_rmse",
    "test/energy_rmse",
    "test/charges_rmse",
    "test/dipole_rmse",
)


def rows(options: Namespace) -> list[dict]:
    """Returns a row per command: wall time, and for training its programs and test errors."""
    with tempfile.TemporaryDirectory() as folder:
        trained_s = timed("train", "configs/quickstart.yaml", folder)
        run = Path(folder) / "runs" / "quickstart"
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        picture(run / "plots", options.results / "quickstart.png")
        md_s = timed("md", "configs/md/quickstart.yaml", folder)
        plot = Path(folder) / "runs" / "quickstart_md" / "plots" / "thermo.png"
        shutil.copy(plot, options.results / "quickstart_md.png")
    epochs = [r for r in records if "time/step_ms" in r]
    return [
        {
            "case": "quickstart",
            "wall_s": trained_s,
            "compiled_programs": epochs[-1]["compiled_programs"],
            "step_ms": epochs[-1]["time/step_ms"],
            "compile_s": sum(r["time/compile_s"] for r in epochs),
            **{name: records[-1][name] for name in METRICS},
        },
        {"case": "quickstart_md", "wall_s": md_s},
    ]


def timed(verb: str, file: str, folder: str) -> float:
    """Returns the wall time of one command, run in a folder."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "electrojax.cli", verb, file], cwd=folder, check=True)
    return time.perf_counter() - start


def picture(plots: Path, target: Path) -> None:
    """Writes three of the run's parity plots side by side."""
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("forces", "charges", "dipole")):
        axes.imshow(matplotlib.image.imread(plots / f"parity_{name}.png"))
        axes.axis("off")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
