"""The md verb from file to trajectory: repeatable, resumable, and it knows when to stop."""

import dataclasses
import json
import re

import ase.io
import jax
import numpy as np
import pytest
from ase import units

from electrojax.config.md import load_md
from electrojax.errors import ConfigError, ConvergenceError, DataError
from electrojax.locking import lock_folder
from electrojax.runs.md import build_md, run_md
from electrojax.simulation.integrators import VelocityVerlet
from electrojax.simulation.run import simulate
from electrojax.simulation.trajectory import read_hdf5
from electrojax.typing import struct
from tests.simulation.conftest import atoms_of, water

FILES = ("frames.xyz", "thermo.jsonl")


def run(path, *overrides, resume="never"):
    lines = []
    run_md(path, overrides, resume, lines.append)
    return path.parent / "runs" / path.stem, lines


def thermo(folder):
    return [json.loads(line) for line in (folder / "thermo.jsonl").read_text().splitlines()]


def built(path, *overrides):
    with jax.enable_x64(True):
        return build_md(load_md(path, overrides))


def test_a_resumed_run_leaves_the_files_of_an_uninterrupted_one(md_file):
    whole, _ = run(md_file("whole"))
    parts, _ = run(md_file("parts"), "steps=14")
    assert [r["step"] for r in thermo(parts)] == [0, 10]
    # As after a kill: records that the checkpoint has not seen are cut off again.
    for name in FILES:
        with (parts / name).open("ab") as file:
            file.write((whole / name).read_bytes()[-40:])
    _, lines = run(md_file("parts"), resume="auto")
    assert "steps 14 to 30" in lines[-1]
    for name in FILES:
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    assert [r["step"] for r in thermo(whole)] == [0, 10, 20, 30]
    first, *_, last = ase.io.read(whole / "frames.xyz", index=":")
    assert np.abs(last.positions - first.positions).max() > 1e-3
    assert last.get_potential_energy() == thermo(whole)[-1]["potential"]
    ends = [sorted((f / "checkpoints").iterdir())[-1] for f in (whole, parts)]
    with np.load(ends[0]) as one, np.load(ends[1]) as other:
        for name in set(one.files) - {"manifest"}:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    done, lines = run(md_file("parts"), resume="auto")
    assert "is complete: 30 steps" in lines[-1]
    assert {"config.yaml", "resolved.yaml", "environment.json", "plots"} <= {
        p.name for p in done.iterdir()
    }


def test_what_a_run_writes_into_hdf5_and_its_log(md_file):
    quantities = "[velocities, forces, energy, dipole, charges, multipoles, scf_steps]"
    write = f"{{every: 5, path: frames.h5, quantities: {quantities}}}"
    path = md_file("h5", write=write, ensemble="{kind: nve}", initial_temperature=300, steps=7)
    folder, _ = run(path)
    run(path, "steps=20", resume="auto")
    frames, log = read_hdf5(folder / "frames.h5"), thermo(folder)
    np.testing.assert_array_equal(frames["step"], [0, 5, 10, 15, 20])
    np.testing.assert_allclose(frames["time"], 0.05 * frames["step"])
    np.testing.assert_array_equal(frames["energy"], [r["potential"] for r in log])
    np.testing.assert_array_equal(frames["dipole"], [r["dipole"] for r in log])
    np.testing.assert_array_equal(frames["charges"], frames["multipoles"][..., 0])
    assert np.abs(frames["charges"].sum(axis=1)).max() < 1e-9
    kinetic = 0.5 * np.sum(
        frames["masses"][:, None] * (frames["velocities"] / units.fs) ** 2, axis=(1, 2)
    )
    np.testing.assert_allclose(kinetic, [r["kinetic"] for r in log], rtol=1e-12)
    # Three translations and three rotations of an open cluster carry no heat.
    np.testing.assert_allclose(
        [r["temperature"] for r in log], 2 * kinetic / (12 * units.kB), rtol=1e-12
    )
    momentum = np.sum(frames["masses"][:, None] * frames["velocities"], axis=1)
    assert np.abs(momentum).max() < 1e-12
    terms = [sum(v for k, v in r.items() if k.startswith("energy/")) for r in log]
    atomic = 2 * (-432.0) + 4 * (-13.6)
    np.testing.assert_allclose(np.add(terms, atomic), frames["energy"], rtol=1e-12)
    total = np.array([r["total"] for r in log])
    assert np.ptp(total) < 1e-6 < np.ptp(kinetic)


def test_tiny_capacities_grow_without_leaving_a_trace(md_file, tmp_path):
    path = md_file("capacity", ensemble="{kind: nve}", initial_temperature=3000)
    job, _ = built(path)
    ends = []
    for name, capacity in (("ample", None), ("tiny", (3, 2))):
        folder = tmp_path / name
        changed = dataclasses.replace(
            job, folder=folder, trajectory=folder / "frames.xyz", capacity=capacity
        )
        with jax.enable_x64(True):
            ends.append(simulate(changed).state)
    np.testing.assert_allclose(
        ends[0].motion.positions, ends[1].motion.positions, rtol=0, atol=1e-12
    )
    assert ends[1].neighbors.plan.edges > 2
    ample, tiny = (thermo(tmp_path / name) for name in ("ample", "tiny"))
    assert [r["step"] for r in tiny] == [r["step"] for r in ample]
    np.testing.assert_allclose(
        [r["total"] for r in tiny], [r["total"] for r in ample], rtol=0, atol=1e-9
    )


@struct
class Poisoned(VelocityVerlet):
    """Velocity Verlet that meets a bad number after some good steps."""

    good: int

    def second_half(self, motion, forces):
        bad = jax.numpy.where(motion.step == self.good, np.nan, 0.0)
        return super().second_half(motion, forces + bad)


def poisoned(job, good):
    integrator = Poisoned(job.engine.integrator.masses, job.engine.integrator.timestep, good)
    return dataclasses.replace(job, engine=dataclasses.replace(job.engine, integrator=integrator))


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("{temperature: 100.0}", r"step 1: temperature \d+ K is above stop.temperature"),
        ("{}", "step 1: energy or velocities are not finite"),
    ],
    ids=["hot", "not finite"],
)
def test_a_stop_condition_saves_the_last_good_frame(md_file, stop, message):
    job, _ = built(md_file("stop", stop=stop, ensemble="{kind: nve}", initial_temperature=300))
    job = job if "temperature" in message else poisoned(job, 0)
    job.folder.mkdir(parents=True)
    with jax.enable_x64(True), pytest.raises(ConvergenceError, match=message):
        simulate(job)
    last = ase.io.read(job.folder / "last_good.xyz")
    np.testing.assert_allclose(last.positions, water().positions, atol=1e-7)
    assert [r["step"] for r in thermo(job.folder)] == [0]


def test_a_bad_number_is_not_kept_and_the_run_goes_on_from_before_it(md_file):
    nve = {"ensemble": "{kind: nve}", "initial_temperature": 300}
    whole, parts = (built(md_file(name, **nve))[0] for name in ("clean", "poisoned"))
    with jax.enable_x64(True):
        simulate(whole)
        with pytest.raises(ConvergenceError, match="step 8: energy or velocities are not finite"):
            simulate(poisoned(parts, 7))
        last = parts.checkpoints.latest()
        assert last.manifest["step"] == 7
        good_frame = ase.io.read(parts.folder / "last_good.xyz")
        np.testing.assert_allclose(
            good_frame.positions, last.arrays[".motion.positions"], atol=1e-8
        )
        simulate(parts, last)
    for name in FILES:
        assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_used_or_busy_folder_is_refused(md_file):
    path = md_file("busy", steps=2)
    folder, _ = run(path)
    with pytest.raises(DataError, match="exists already; continue it with --resume auto"):
        run(path)
    with lock_folder(folder), pytest.raises(DataError, match=r"another electrojax process \(pid"):
        run(path, "steps=4", resume="auto")
    with pytest.raises(DataError, match="differs in seed .3 -> 4., timestep"):
        run(path, "steps=4", "seed=4", "timestep=0.1", resume="auto")


def test_inputs_are_given_or_the_run_is_refused(md_file):
    path = md_file("inputs")
    ase.io.write(path.parent / "start.xyz", atoms_of(water()))
    with pytest.raises(ConfigError, match=r"inputs.yaml:3 +start +start.xyz frame 0: the model"):
        built(path)
    job, warnings = built(path, "total_charge=0")
    assert job.structure.info["total_charge"] == 0.0 and not warnings
    ase.io.write(path.parent / "start.xyz", atoms_of(water(), total_charge=1.0))
    job, warnings = built(path, "total_charge=0")
    assert "total_charge is 0.0 as the md file says, not 1" in warnings[0]
    assert built(path)[0].structure.info["total_charge"] == 1.0


def test_a_periodic_structure_is_told_to_have_no_dipole(md_file):
    write = "{every: 10, path: frames.xyz, quantities: [energy, dipole]}"
    path = md_file("asked", write=write)
    assert built(path)[1] == []
    crystal = atoms_of(water(), total_charge=0.0)
    crystal.set_cell(9.0 * np.eye(3))
    crystal.set_pbc(True)
    ase.io.write(path.parent / "start.xyz", crystal)
    job, warnings = built(path)
    assert "dipole" in warnings[0] and "dipole" not in job.quantities
    assert built(md_file("default", write="{every: 10, path: frames.xyz}"))[1] == []


def test_a_field_and_a_multiplicity_come_from_the_file_or_the_frame(md_file):
    field = np.array([0.0, 0.02, -0.05])
    path = md_file("field", steps=10)
    jobs = [built(path, f"external_field={field.tolist()}", "multiplicity=3")[0]]
    inputs = {"total_charge": 0.0, "external_field": field, "multiplicity": 3}
    ase.io.write(path.parent / "start.xyz", atoms_of(water(), **inputs))
    jobs.append(built(path)[0])
    for job in jobs:
        np.testing.assert_array_equal(np.ravel(job.engine.moving.system.external_field), field)
        assert float(job.engine.moving.system.multiplicity[0]) == 3.0
        assert job.structure.info["multiplicity"] == 3.0
    folder, _ = run(path)
    for record in thermo(folder):
        # E = −F·D, and a field pushes an atom along with its charge
        assert record["energy/field"] == pytest.approx(-np.dot(field, record["dipole"]), rel=1e-9)
    frame = ase.io.read(folder / "frames.xyz", index=-1)
    np.testing.assert_array_equal(frame.info["external_field"], field)


def test_first_velocities_come_from_the_file_or_the_frame(md_file):
    path = md_file("velocities", ensemble="{kind: nve}")
    with pytest.raises(ConfigError, match=r"initial_temperature +is required"):
        built(path)
    atoms = atoms_of(water(), total_charge=0.0)
    atoms.set_velocities(np.arange(18.0).reshape(6, 3) ** 2 * 1e-4)
    ase.io.write(path.parent / "start.xyz", atoms)
    job, _ = built(path)
    assert job.motion.velocities.dtype == np.float64
    written = ase.io.read(path.parent / "start.xyz").get_velocities()
    np.testing.assert_array_equal(job.motion.velocities, written)
    drawn = [built(path, "initial_temperature=300", f"seed={s}")[0] for s in (1, 1, 2)]
    velocities = [np.asarray(d.motion.velocities) for d in drawn]
    np.testing.assert_array_equal(velocities[0], velocities[1])
    assert np.abs(velocities[0] - velocities[2]).max() > 1e-4


WRONG = {
    "ensemble={kind: npt_nose_hoover}": r'ensemble.kind +"npt_nose_hoover" is not a kind; did you',
    "ensemble.fricton=2": r'ensemble.fricton +unknown key; did you mean "friction"',
    "write.path=frames.dcd": r'write.path +"frames.dcd" does not fit: a file ending in .h5',
    "write.quantities=[position]": r'write.quantities.0 +"position" is not known; did you mean',
    "frame=7": r"frame +start.xyz has no frame 7; frames are counted from 0",
    "start=absent.xyz": "start +no such file",
    "model=absent.ejx": "model +.*absent.ejx: no such model file",
    "external_field=[0, 0]": "external_field",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_file_is_refused_in_one_line(md_file, override):
    with pytest.raises(ConfigError, match=WRONG[override]) as caught:
        built(md_file("wrong"), override)
    assert "\n" not in str(caught.value) or override.startswith("external")


def test_every_shipped_md_file_is_valid():
    loaded = load_md("configs/md/quickstart.yaml")
    assert loaded.config.start == "builtin:ion_water"
    assert loaded.folder.name == "quickstart_md"
    assert re.search(r"runs.quickstart.model\.ejx$", loaded.config.model)
