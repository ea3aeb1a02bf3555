"""What md does with a start frame: constraints refused, velocities kept, first temperatures."""

import ase.io
import jax
import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms

import electrojax as ej
from electrojax.config.md import load_md
from electrojax.errors import ConfigError, DataError
from electrojax.runs.md import build_md
from electrojax.simulation.run import observe
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of, water


def built(path, *overrides):
    with jax.enable_x64(True):
        return build_md(load_md(path, overrides))


def colliding():
    """Two waters on a collision course, which also turn and drift."""
    atoms = atoms_of(water(), total_charge=0.0)
    velocities = np.zeros((6, 3))
    velocities[:3, 0], velocities[3:, 0] = 0.02, -0.01
    turning = np.cross([0.0, 0.0, 0.003], atoms.positions - atoms.get_center_of_mass())
    atoms.set_velocities(velocities + turning)
    return atoms


@pytest.mark.parametrize("name", ["start.traj", "start.xyz"])
def test_constraints_are_refused_by_name(md_file, name):
    path = md_file("fixed", start=name)
    atoms = atoms_of(water(), total_charge=0.0)
    atoms.set_constraint(FixAtoms([0, 1]))
    columns = ["symbols", "positions", "move_mask"]
    ase.io.write(path.parent / name, atoms, **({"columns": columns} if "xyz" in name else {}))
    with pytest.raises(
        ConfigError, match=rf"fixed.yaml:\d+ +start +{name} frame 0 has constr.*Fix"
    ):
        built(path)


def test_jaxmd_refuses_constraints_too():
    atoms = atoms_of(water(1), total_charge=0.0)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(DataError, match=r"has constraints \(FixAtoms\), which jax-md"):
        ej.jaxmd.force_field(potential("light", "local"), atoms)


ENSEMBLES = {
    "nve": "{kind: nve}",
    "langevin": "{kind: nvt_langevin, temperature: 300}",
    "nose_hoover": "{kind: nvt_nose_hoover, temperature: 300}",
}


@pytest.mark.parametrize("kind", ENSEMBLES)
@pytest.mark.parametrize("name", ["start.traj", "start.xyz"])
def test_velocities_of_the_start_frame_are_kept(md_file, kind, name):
    path = md_file("kept", ensemble=ENSEMBLES[kind], start=name)
    ase.io.write(path.parent / name, colliding())
    written = ase.io.read(path.parent / name)
    job, warnings = built(path)
    np.testing.assert_array_equal(job.motion.velocities, written.get_velocities())
    velocities = np.asarray(job.motion.velocities)
    kinetic = 0.5 * np.sum(job.structure.masses[:, None] * velocities**2)
    assert kinetic == pytest.approx(written.get_kinetic_energy(), rel=1e-12)
    # Drift and rotation carry energy, so that they count.
    assert float(job.engine.limits.freedom) == 18
    told = [w for w in warnings if "eV of translation" in w and "eV of rotation" in w]
    assert len(told) == (kind != "langevin")


def test_drift_is_removed_on_request(md_file):
    path = md_file("request", ensemble="{kind: nve}")
    ase.io.write(path.parent / "start.traj", colliding())
    job, warnings = built(path, f"start={path.parent}/start.traj", "remove_drift=true")
    masses, velocities = job.structure.masses[:, None], np.asarray(job.motion.velocities)
    centred = colliding().positions - colliding().get_center_of_mass()
    np.testing.assert_allclose(np.sum(masses * velocities, axis=0), 0.0, atol=1e-13)
    spin = np.sum(masses * np.cross(centred, velocities), axis=0)
    np.testing.assert_allclose(spin, 0.0, atol=1e-13)
    assert float(job.engine.limits.freedom) == 12 and not warnings
    # Without drift in the file, the conserved motions carry no heat though nothing was removed.
    calm = colliding()
    calm.set_velocities(velocities)
    ase.io.write(path.parent / "calm.traj", calm)
    job, warnings = built(path, f"start={path.parent}/calm.traj")
    np.testing.assert_array_equal(job.motion.velocities, calm.get_velocities())
    assert float(job.engine.limits.freedom) == 12 and not warnings


@pytest.mark.parametrize("kind", ENSEMBLES)
@pytest.mark.parametrize("remove", ["null", "true", "false"])
def test_the_first_temperature_is_the_one_asked(md_file, kind, remove):
    path = md_file("first", ensemble=ENSEMBLES[kind], initial_temperature=300)
    ase.io.write(path.parent / "start.xyz", atoms_of(water(1), total_charge=0.0))
    job, _ = built(path, f"remove_drift={remove}")
    masses, velocities = job.structure.masses[:, None], np.asarray(job.motion.velocities)
    freedom = float(job.engine.limits.freedom)
    assert freedom == (9 if kind == "langevin" or remove == "false" else 3)
    temperature = np.sum(masses * velocities**2) / (freedom * units.kB)
    assert temperature == pytest.approx(300.0, rel=1e-12)
    drifts = np.abs(np.sum(masses * velocities, axis=0)).max() > 1e-6
    assert drifts == (remove == "false" or (kind == "langevin" and remove == "null"))


def test_the_log_begins_at_300_kelvin(md_file):
    path = md_file("log")
    ase.io.write(path.parent / "start.xyz", atoms_of(water(1), total_charge=0.0))
    job, _ = built(path)
    with jax.enable_x64(True):
        line, _ = observe(job, job.engine.start(job.motion))
    assert line["temperature"] == pytest.approx(300.0, rel=1e-12)
    assert line["charge"] == pytest.approx(0.0, abs=1e-9)


def test_atoms_at_rest_are_not_handed_to_a_nose_hoover_chain(md_file):
    path = md_file("rest", ensemble=ENSEMBLES["nose_hoover"], start="rest.xyz")
    atoms = atoms_of(water(), total_charge=0.0)
    atoms.set_array("momenta", np.zeros((6, 3)))
    ase.io.write(path.parent / "rest.xyz", atoms)
    with pytest.raises(ConfigError, match="initial_temperature +is required.*at rest"):
        built(path)
