"""electrojax analyse on trajectories of ASE."""

import csv
import json
import re
import shlex
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from electrojax.cli import app
from electrojax.errors import ConfigError, DataError


def trajectory(path, charges=True, time=True, pbc=True, scale=0.3):
    random = np.random.default_rng(0)
    where, frames = random.random((8, 3)) * 9.0, []
    for step in range(60):
        where = where + random.normal(scale=scale, size=where.shape)
        atoms = Atoms("NaClNaClNaClNaCl", where, cell=[9.0] * 3, pbc=pbc)
        atoms.info = {"time": 10.0 * step} if time else {}
        results = {"charges": np.tile([0.9, -0.9], 4)} if charges else {"energy": 0.0}
        atoms.calc = SinglePointCalculator(atoms, dipole=random.normal(size=3), **results)
        frames.append(atoms)
    ase.io.write(path, frames)
    return path


def run(*words):
    app()([str(w) for w in ("analyse", *words)], standalone_mode=False)


def test_numbers_and_plots(tmp_path):
    path, out = trajectory(tmp_path / "a.extxyz"), tmp_path / "out"
    run(path, "-o", out, "--temperature", 300, "--do", "structure-factor", "--do", "conductivity",
        "--do", "dielectric", "--charge", "Na=1", "--charge", "Cl=-1",
        "--window", 10, 40)  # fmt: skip
    numbers = json.loads((out / "analysis.json").read_text())
    rows = list(csv.DictReader((out / "structure-factor.csv").read_text().splitlines()))
    curve = numbers["structure-factor"]["reduced"]
    assert [float(row["reduced"]) for row in rows] == curve and len(curve) > 2
    assert (out / "structure-factor.png").read_bytes().startswith(b"\x89PNG")
    assert numbers["conductivity"]["einstein_S_per_m"][1] > 0
    assert numbers["dielectric"]["epsilon"] > 1


@pytest.mark.parametrize(
    ("options", "analysis", "error", "match"),
    [
        ({"charges": False}, "structure-factor", DataError, "needs charges"),
        ({"pbc": [1, 1, 0]}, "structure-factor", DataError, "periodic in all three"),
        ({"pbc": [1, 1, 0]}, "dielectric", DataError, "needs a bulk"),
        ({"time": False}, "infrared", DataError, "needs time"),
        ({"scale": 4.0}, "conductivity", DataError, "unwrapped"),
        ({}, "colour", ConfigError, "needed one or more"),
    ],
)
def test_what_an_analysis_lacks_is_named(tmp_path, options, analysis, error, match):
    path, out = trajectory(tmp_path / "a.extxyz", **options), tmp_path / "out"
    with pytest.raises(error, match=match):
        run(path, "-o", out, "--temperature", 300, "--do", analysis, "--charge", "Na=1",
            "--charge", "Cl=-1", "--window", 10, 40)  # fmt: skip
    assert not out.exists()


def test_predicted_charges_are_no_current(tmp_path):
    path = trajectory(tmp_path / "a.extxyz")
    with pytest.raises(ConfigError, match="formal charge: Cl, Na"):
        run(path, "-o", tmp_path / "out", "--temperature", 300, "--do", "conductivity")


def test_commands_of_the_guide(tmp_path, monkeypatch):
    guide = Path(__file__).parents[2] / "docs/guides/analyse.md"
    trajectory(tmp_path / "md.extxyz")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^electrojax analyse (.+)$", guide.read_text(), re.M)
    assert len(commands) == 2
    for command in commands:
        run(*shlex.split(command))
    assert (tmp_path / "transport" / "analysis.json").is_file()
