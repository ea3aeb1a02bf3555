"""Run folders as training leaves them, without the training."""

import json

import numpy as np
import pytest
import yaml

from electrojax.analysis.predictions import CURVES, PREDICTIONS, gather, write_predictions
from electrojax.models.predict import StructurePrediction
from electrojax.system.types import Frame
from electrojax.units import COULOMB

KINDS = ("none", "local", "split", "latent", "qeq", "functional", "scf", "non_scf")


@pytest.fixture
def make_run(tmp_path):
    """Returns a function that writes a run folder and returns it."""

    def make(name, folder=tmp_path / "runs", **options):
        return write_run(folder / name, name, **options)

    return make


def write_run(
    folder,
    name,
    kind="local",
    seed=1,
    epochs=3,
    finals=None,
    frames=(),
    noise=0.01,
    extra=None,
    finished=True,
):
    """Writes the files of a run.

    Args:
        finals: metrics of the last evaluation, beside those that every run has.
        frames: what was evaluated; predictions are the labels with noise.
        extra: dotted keys of the configuration with their values.
    """
    folder.mkdir(parents=True)
    config = {
        "run": {"name": name, "dir": "runs", "seed": seed, "precision": "float32"},
        "data": {s: {"path": "/data/set.xyz", "split": s} for s in ("train", "test")},
        "model": {"solver": {"kind": kind}, "density": {"l_max": 1}},
        "train": {"stages": [{"name": "one", "epochs": epochs}], "max_unconverged": 0.01},
        "loggers": ["jsonl"],
    }
    for key, value in (extra or {}).items():
        *path, last = key.split(".")
        at = config
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    (folder / "resolved.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    lines = [epoch_record(e, epochs, kind, seed) for e in range(1, epochs + 1)]
    if finished:
        final = {"test/forces_rmse": 50.0, "test/energy_rmse": 5.0, **(finals or {})}
        lines.append({"final": True, "epoch": epochs, **final})
        if frames:
            write_predictions(folder / PREDICTIONS, predictions(frames, kind, seed, noise))
        if on_curve := [frame for frame in frames if frame.tags]:
            write_predictions(folder / CURVES, predictions(on_curve, kind, seed, noise))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


ENVIRONMENT = {
    "electrojax": "0.1.0",
    "commit": "0123456789ab",
    "versions": {"jax": "0.10.1"},
    "devices": ["cpu:cpu"],
    "command": ["electrojax", "train"],
    "data": {"/data/set.xyz": "ab" * 32},
    "coulomb": {},
    "warnings": [],
}


def epoch_record(epoch, epochs, kind, seed):
    rng = np.random.default_rng([epoch, seed, KINDS.index(kind)])
    fall = (epoch / epochs) ** -0.7 * (1 + 0.05 * rng.normal())
    names = ("train/loss", "train/energy_rmse", "train/energy_mae", "train/energy_r2",
             "train/forces_rmse", "train/forces_mae", "train/forces_rmse_relative",
             "train/charges_rmse", "train/charges_mae", "train/dipole_rmse", "train/dipole_mae",
             "valid/loss", "valid/energy_rmse", "valid/energy_mae", "valid/energy_r2",
             "valid/forces_rmse", "valid/forces_mae", "valid/forces_rmse_relative",
             "valid/charges_rmse", "valid/charges_mae", "valid/dipole_rmse", "valid/dipole_mae",
             "train/gradient_norm")  # fmt: skip
    iterates = kind in ("qeq", "functional", "scf")
    return {
        "epoch": epoch,
        "stage": "one",
        "step": 20 * epoch,
        "learning_rate": 0.01,
        **{name: 20.0 * fall * (1 + 0.1 * rng.normal()) for name in names},
        "scf/steps": 8.0 + rng.normal() if iterates else 0.0,
        "scf/unconverged": 0.01 * rng.random() if iterates else 0.0,
        "time/step_ms": 20.0 + KINDS.index(kind) + rng.normal(),
        "time/epoch_s": 1.0,
        "time/compile_s": 5.0 if epoch == 1 else 0.0,
        "memory/peak_mib": 800.0 + epoch,
        "compiled_programs": 2,
    }


def cluster(rng, atoms=12):
    """A labelled cluster of water."""
    numbers = np.array([8, 1, 1] * (atoms // 3))
    labels = {
        "energy": np.array(rng.normal()),
        "forces": rng.normal(size=(atoms, 3)),
        "charges": np.where(numbers == 8, -0.6, 0.3) + 0.02 * rng.normal(size=atoms),
        "dipole": rng.normal(size=3),
    }
    return Frame(numbers, rng.normal(size=(atoms, 3)), np.zeros((3, 3)), (False,) * 3, labels)


def dimer(system, distance, charges=(1.0, 1.0), image=False, split="test", scan="", shift=0.0):
    """Two charged atoms that part, labelled by Coulomb's law; or an ion above a conductor."""
    strength = COULOMB * charges[0] * charges[1]
    tags = {"system": system, "distance": distance, "scan": scan}
    if image:
        strength, tags["image_charge"] = -COULOMB * charges[0] ** 2 / 4, charges[0]
    pull = strength / distance**2
    labels = {
        "energy": np.array(strength / distance - 7.0 + shift),
        "forces": np.array([[0.0, 0.0, -pull], [0.0, 0.0, pull]]),
        "charges": np.array(charges, float),
    }
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
    return Frame(
        np.array([11, 17]),
        positions,
        np.zeros((3, 3)),
        (False,) * 3,
        labels,
        total_charge=sum(charges),
        fragment=np.array([0, 1]),
        tags=tags,
        split=split,
    )


def predictions(frames, kind, seed, noise):
    """What a model of a kind predicts: the labels with noise; without charges no pull at all."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    provides = ("energy", "forces", "charges", "dipole")
    provides = provides[:2] if kind == "none" else provides
    found = []
    for frame in frames:
        atoms = len(frame.numbers)
        blind = kind == "none" and frame.tags
        values = {
            name: np.asarray(value) * (not blind) + noise * rng.normal(size=np.shape(value))
            for name, value in frame.labels.items()
        }
        found.append(structure_prediction(atoms, **values))
    splits = [frame.split or "test" for frame in frames]
    return gather(splits, frames, [frame.labels for frame in frames], found, provides)


def structure_prediction(atoms, energy, forces, charges=None, dipole=None):
    return StructurePrediction(
        energy=float(energy),
        energies={},
        forces=forces,
        stress=np.zeros((3, 3)),
        multipoles=np.zeros((atoms, 1)),
        charges=np.zeros(atoms) if charges is None else charges,
        dipole=np.zeros(3) if dipole is None else dipole,
        quadrupole=np.zeros((3, 3)),
        polarization=np.zeros(3),
        energy_polarization=np.zeros(3),
        fermi_level=0.0,
        chemical_potential=np.zeros(atoms),
        spin_multipoles=np.zeros((atoms, 1)),
        converged=True,
        solver_steps=3,
    )
