"""Trains the cases of benchmarks/cases on public ab initio data (--data DIR), keeps their errors.

Every case is a training file; the paths in it are taken below the folder given by --data.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import yaml

KEPT = ("_rmse", "_relative", "_r2", "scf/steps", "scf/unconverged")
"""Endings of the final metrics that a row keeps."""

CASES = Path(__file__).resolve().parent.parent / "cases"


def trained(file: Path, run: Path, overrides: list[str] | None = None) -> dict:
    """Trains a file and returns what every row of a training run holds.

    Args:
        file: the training file.
        run: its run folder.
        overrides: ``--set`` options of the command.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "electrojax.cli", "train", str(file), *(overrides or [])]
    subprocess.run(command, check=True)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [r for r in records if not r.get("final")]
    return {
        "epochs": len(epochs),
        "wall_s": time.perf_counter() - start,
        "first_train_loss": epochs[0]["train/loss"],
        "last_train_loss": epochs[-1]["train/loss"],
        "step_ms": epochs[-1]["time/step_ms"],
        **{k: v for k, v in records[-1].items() if k.endswith(KEPT)},
    }


def train(case: Path, data: Path, folder: Path) -> dict:
    """Returns a row: first and last epoch, and the final errors on the held-out set."""
    plain = yaml.safe_load(case.read_text())
    overrides = []
    for name in ("train", "valid", "test"):
        if name in plain["data"]:
            path = data.resolve() / Path(plain["data"][name]["path"]).name
            overrides += ["--set", f"data.{name}.path={path}"]
    overrides += ["--set", f"run.dir={folder}"]
    return {"case": case.stem, **trained(case, folder / plain["run"]["name"], overrides)}


def rows(options: Namespace) -> list[dict]:
    """Returns a row per case.

    Raises:
        SystemExit: if no data folder is given.
    """
    if options.data is None:
        sys.exit("accuracy: give the folder of the data sets with --data DIR")
    found = []
    for case in sorted(CASES.glob("*.yaml")):
        if not options.only or options.only in case.stem:
            with tempfile.TemporaryDirectory() as folder:
                found.append(train(case, options.data, Path(folder)))
    return found
