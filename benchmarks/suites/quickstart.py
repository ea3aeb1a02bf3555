"""The README's first command after installation: train, evaluate and plot, timed as a whole.

Also makes the README's picture, benchmarks/results/quickstart.png, from the run's own plots.
"""

import json
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
    """Returns one row: wall time of the whole command, programs compiled, test errors."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "electrojax.cli", "train", "configs/quickstart.yaml"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True)
        seconds = time.perf_counter() - start
        run = Path(folder) / "runs" / "quickstart"
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        picture(run / "plots", options.results / "quickstart.png")
    epochs = [r for r in records if not r.get("final")]
    return [
        {
            "case": "quickstart",
            "wall_s": seconds,
            "compiled_programs": epochs[-1]["compiled_programs"],
            "step_ms": epochs[-1]["time/step_ms"],
            "compile_s": sum(r["time/compile_s"] for r in epochs),
            **{name: records[-1][name] for name in METRICS},
        }
    ]


def picture(plots: Path, target: Path) -> None:
    """Writes three of the run's parity plots side by side."""
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("forces", "charges", "dipole")):
        axes.imshow(matplotlib.image.imread(plots / f"parity_{name}.png"))
        axes.axis("off")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
