"""Frames of a trajectory say everything that evaluates them again, in both formats."""

import json

import ase.io
import jax
import numpy as np
import pytest
from ase import units

import electrojax as ej
from electrojax.config.md import load_md
from electrojax.data.reader import read_frame, read_frames
from electrojax.models import bundle
from electrojax.runs.md import build_md, run_md
from electrojax.system.atoms import atoms_from_frame
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of, water

QUANTITIES = "[velocities, forces, energy, dipole, charges, multipoles]"
ENSEMBLES = {
    "nve": "{kind: nve}",
    "nvt_langevin": "{kind: nvt_langevin, temperature: 300}",
    "nvt_nose_hoover": "{kind: nvt_nose_hoover, temperature: 300}",
}


def heavy(**info):
    """Two waters, one of them D2O, with the inputs that any kind may need."""
    atoms = atoms_of(water(), total_charge=0.0, **info)
    masses = atoms.get_masses()
    masses[4:] = 2.014
    atoms.set_masses(masses)
    atoms.set_array("formal_charges", np.array([-2.0, 1, 1, -2, 1, 1]))
    atoms.set_array("fragment", np.array([0, 0, 0, 1, 1, 1]))
    return atoms


def run(md_file, model, start, suffix, **keys):
    path = md_file(
        "whole",
        model=str(model),
        start="heavy.xyz",
        steps=4,
        write=f"{{every: 2, path: frames.{suffix}, quantities: {QUANTITIES}}}",
        **keys,
    )
    ase.io.write(path.parent / "heavy.xyz", start)
    run_md(path, (), "never", lambda line: None)
    folder = path.parent / "runs" / "whole"
    log = [json.loads(line) for line in (folder / "thermo.jsonl").read_text().splitlines()]
    return folder / f"frames.{suffix}", log


def as_atoms(path):
    if path.suffix == ".h5":
        return [atoms_from_frame(frame) for frame in read_frames(path)]
    return ase.io.read(path, index=":")


CASES = {
    "qeq at fixed potential": ("qeq", "nve", "h5"),
    "split in a field": ("split", "nvt_langevin", "xyz"),
    "scf triplet": ("scf", "nvt_nose_hoover", "h5"),
    "qeq at fixed potential, text": ("qeq", "nvt_langevin", "xyz"),
}


@pytest.mark.parametrize("case", CASES)
def test_predict_says_of_a_frame_what_the_run_said(md_file, tmp_path, case):
    kind, ensemble, suffix = CASES[case]
    model = potential("light", kind, "float64")
    with jax.enable_x64(True):
        bundle.save(model, tmp_path / "kind.ejx")
    info = {"multiplicity": 3.0} if kind == "scf" else {}
    if kind == "qeq":
        info |= {"charge_control": "fixed_potential", "fermi_level": -0.4}
    if kind == "split":
        info |= {"external_field": np.array([0.01, 0.02, -0.03])}
    file, log = run(
        md_file,
        tmp_path / "kind.ejx",
        heavy(**info),
        suffix,
        ensemble=ENSEMBLES[ensemble],
        initial_temperature=300,
    )
    frames = as_atoms(file)
    predictions = ej.predict(bundle.load(tmp_path / "kind.ejx"), frames)
    assert len(frames) == len(log) == 3
    for frame, line, predicted in zip(frames, log, predictions):
        assert predicted.energy == pytest.approx(line["potential"], abs=1e-8)
        assert frame.get_kinetic_energy() == pytest.approx(line["kinetic"], rel=1e-12)
        assert predicted.charges.sum() == pytest.approx(line["charge"], abs=1e-8)
        if "fermi_level" in model.provides:
            assert predicted.fermi_level == pytest.approx(line["fermi_level"], abs=1e-7)
        assert set(frame.get_masses()[4:]) == {2.014}
    if kind == "qeq":
        assert abs(log[-1]["charge"]) > 1e-3
        assert log[-1]["fermi_level"] == pytest.approx(-0.4, abs=1e-9)


@pytest.mark.parametrize("suffix", ["h5", "xyz"])
def test_a_trajectory_starts_the_next_run(md_file, model_file, suffix):
    file, log = run(md_file, model_file, heavy(), suffix)
    path = md_file("next", start=str(file), frame=-1, ensemble="{kind: nve}")
    with jax.enable_x64(True):
        job, _ = build_md(load_md(path))
    masses, velocities = job.structure.masses, np.asarray(job.motion.velocities)
    kinetic = 0.5 * np.sum(masses[:, None] * velocities**2)
    assert kinetic == pytest.approx(log[-1]["kinetic"], rel=1e-12)
    np.testing.assert_array_equal(masses[4:], 2.014)
    first = as_atoms(file)[-1]
    np.testing.assert_array_equal(job.motion.positions, first.positions)
    assert set(job.structure.arrays) == {"formal_charges", "fragment"}


def test_one_frame_of_a_trajectory_is_counted_from_either_end(md_file, model_file):
    file, _ = run(md_file, model_file, heavy(), "h5")
    frames = read_frames(file)
    np.testing.assert_array_equal(read_frame(file, -1).positions, frames[2].positions)
    np.testing.assert_array_equal(read_frame(file, 1).velocities, frames[1].velocities)
    assert frames[1].source == "frames.h5 frame 1"
    momenta = frames[2].masses[:, None] * frames[2].velocities / units.fs
    np.testing.assert_allclose(atoms_from_frame(frames[2]).get_momenta(), momenta, rtol=1e-14)
    with pytest.raises(IndexError):
        read_frame(file, 3)
