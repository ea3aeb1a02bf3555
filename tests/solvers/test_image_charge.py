"""An ion above a conductor, farther than any message reaches: induced charges or none.

The labels come from tests/solvers/gaussian_metal.py, which shares no code with the package; that
model itself is held against the analytic conducting sphere here.
"""

import functools
import json

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

import electrojax as ej
from electrojax import testing
from electrojax.electrostatics.coulomb import engine_for
from electrojax.nn.features import Features, from_components
from electrojax.runs.train import run_training
from electrojax.solvers.qeq import ChargeEquilibration
from electrojax.solvers.readouts.hardness import hardness_unit
from electrojax.solvers.scf import HARDNESS_FLOOR, SelfConsistentField
from electrojax.system.types import Frame
from electrojax.typing import replace
from tests.solvers.gaussian_metal import (
    K_E,
    GaussianMetal,
    conducting_width,
    shell,
    slab,
    sphere_energy,
    sphere_force,
)
from tests.solvers.systems import CUTOFF, system_of

SPACING = 2.89
"""Å, of silver."""

REACH = 2 * 3.5
"""Å, layers times cutoff of the models trained below."""

METAL = GaussianMetal(width=0.9, hardness=1.0, ion_width=0.5)
MODEL_WIDTH = 1.2


@pytest.mark.parametrize("metal_charge", [0.0, -0.4, None])
def test_the_forces_of_the_dense_metal_are_slopes_of_its_energy(rng, metal_charge):
    metal = slab(3, 2, SPACING) + 0.1 * rng.normal(size=(13, 3))
    ion = np.array([0.7, -0.4, 4.0])

    def energy(r):
        return METAL.response(r[:-1], r[-1], -1.0, metal_charge).energy

    found = METAL.response(metal, ion, -1.0, metal_charge)
    forces = np.concatenate([found.metal_forces, found.ion_force[None]])
    testing.assert_gradient(energy, -forces, np.concatenate([metal, ion[None]]), rtol=1e-7)
    if metal_charge is not None:
        np.testing.assert_allclose(found.charges.sum(), metal_charge, atol=1e-12)


@pytest.mark.parametrize("grounded", [False, True])
def test_a_shell_of_the_dense_metal_is_the_conducting_sphere(grounded):
    """0.4 % with 800 atoms on a sphere of 10 Å, and the error falls as one over their number."""
    radius, direction = 10.0, np.array([0.3, -0.5, 0.8]) / np.sqrt(0.98)
    errors = {}
    for count in (200, 800):
        metal = GaussianMetal(conducting_width(count, radius))
        metal_charge = None if grounded else 0.0
        found = [metal.response(shell(count, radius), d * direction, 1.0, metal_charge)
                 for d in (14.0, 17.5, 22.0)]  # fmt: skip
        wanted = [(sphere_energy(d, radius, grounded), sphere_force(d, radius, grounded))
                  for d in (14.0, 17.5, 22.0)]  # fmt: skip
        values = np.array([[f.energy, f.ion_force @ direction] for f in found])
        errors[count] = np.max(np.abs(values / np.array(wanted) - 1))
        sideways = [f.ion_force - (f.ion_force @ direction) * direction for f in found]
        assert np.max(np.abs(sideways)) < 1e-2 * np.max(np.abs(values[:, 1]))
    assert errors[800] < 4e-3 and errors[800] < errors[200] / 3


def test_a_wide_grounded_slab_of_the_dense_metal_has_an_image_plane():
    """Force −k_e q²/4d² at all heights with d from one plane: that of 685 atoms, to 0.06 Å."""
    metal = slab(19, 2, SPACING)
    planes = []
    for height in (4.0, 5.0, 7.5, 9.0):
        force = METAL.response(metal, np.array([0.0, 0.0, height]), 1.0, None).ion_force[2]
        planes.append(height - np.sqrt(-K_E / (4 * force)))
    assert np.ptp(planes) < 0.06
    assert 0 < np.mean(planes) < SPACING / np.sqrt(8)  # below half a layer above the last


def ion_above_a_slab(rng: np.random.Generator, charge: float) -> Frame:
    metal = slab(3, 2, SPACING) + 0.08 * rng.normal(size=(13, 3))
    return Frame(
        numbers=np.array([47] * 13 + [11 if charge > 0 else 17]),
        positions=np.append(metal, [[1.0, 0.5, 8.0]], axis=0),
        cell=np.zeros((3, 3)),
        pbc=(False,) * 3,
        labels={},
        source="ion above a slab",
        total_charge=charge,
        formal_charges=np.array([0.0] * 13 + [charge]),
        fragment=np.array([0] * 13 + [1]),
    )


def solver_of(kind: str, width: float, hardness: float, ions: dict[int, float]):
    """The solver, and its parameters with the metal's hardness; ions by atomic number.

    qeq keeps the ion's charge as a fragment's; in scf the ion is hard, 10⁹ eV/e².
    """
    common = {"l_max": 0, "width": width, "cutoff": CUTOFF, "tolerance": 1e-12}
    table = np.zeros(119)
    if kind == "qeq":
        table += softplus_inverse(hardness)
        tables = {("hardness", "element_0"): table}
        bare = {"hardness": "element", "hardness_floor": 0.0, "fragments": True}
        return ChargeEquilibration(**bare, **common), tables
    table += softplus_inverse((hardness - HARDNESS_FLOOR) / hardness_unit(10.0))
    charge = np.zeros(119)
    for number, value in ions.items():
        table[number], charge[number] = 1e9, value
    tables = {("hardness", "element_0"): table, ("charge",): charge}
    return SelfConsistentField(energy="functional", initial_hardness=10.0, **common), tables


def softplus_inverse(value: float) -> float:
    return float(np.log(np.expm1(value)))


def evaluated(solver, tables, frames: list[Frame]):
    """Charges and forces of all atoms, by a solver whose other parameters and features are 0."""
    system = system_of(frames)
    n = system.n_nodes
    features = Features((from_components((jnp.zeros((n, 1, 2)), jnp.zeros((n, 3, 2)))),))

    def applied(function, positions):
        moved = replace(system, positions=positions)
        coulomb = engine_for("open", 1e-12).prepare(moved, 0, solver.width)
        return function(features, moved, coulomb, None)

    positions = jnp.asarray(system.positions)
    init = functools.partial(solver.init, jax.random.key(0))
    fresh = jax.eval_shape(functools.partial(applied, init), positions)["params"]
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), fresh)
    for (*path, last), table in tables.items():
        place = params[path[0]] if path else params
        place[last] = {"table": jnp.asarray(table)}

    def energy(positions):
        state = applied(functools.partial(solver.apply, {"params": params}), positions)
        return jnp.sum(jnp.stack(list(state.energies.values()))), state

    gradient, state = jax.jit(jax.grad(energy, has_aux=True))(positions)
    return np.asarray(state.density.multipoles[:, 0, 0]), -np.asarray(gradient)


@pytest.mark.parametrize("kind", ["qeq", "scf"])
def test_with_its_width_and_hardness_a_solver_is_the_dense_metal(x64, rng, kind):
    width, hardness = 1.1, 2.0
    metal = GaussianMetal(width, hardness, width)
    frames = [ion_above_a_slab(rng, charge) for charge in (1.0, -1.0)]
    solver, tables = solver_of(kind, width, hardness, {11: 1.0, 17: -1.0})
    tolerance = 1e-9 if kind == "qeq" else 1e-7
    charges, forces = evaluated(solver, tables, frames)
    for start, frame in zip((0, 14), frames):
        q, f, charge = charges[start : start + 14], forces[start : start + 14], frame.total_charge
        wanted = metal.response(frame.positions[:-1], frame.positions[-1], charge)
        np.testing.assert_allclose(q, np.append(wanted.charges, charge), atol=tolerance)
        np.testing.assert_allclose(f[-1], wanted.ion_force, atol=tolerance)
        np.testing.assert_allclose(f[:-1], wanted.metal_forces, atol=tolerance)
        assert f[-1][2] < -5e-3 and np.max(np.abs(q[:-1])) > 5e-3


CONFIG = """\
include: [model/light, solver/{kind}, coulomb/default, train/default]
run: {{name: {kind}, seed: 1}}
data:
  train: {{path: train.xyz}}
  valid: {{path: train.xyz, fraction: 0.17}}
  test: {{path: test.xyz}}
  require: [energy, forces, charges]
  atom_energies: {{given: {{Ag: 0, Na: 0, Cl: 0}}}}
  batching: {{graphs: 8, buckets: 1}}
model:
  solver: {solver}
  backbone: {{kind: light, cutoff: 3.5, layers: 2, channels: 16}}
  density: {{l_max: 0, width: {width}}}
train:
  epochs: {epochs}
  learning_rate: 0.02
  schedule: cosine
  loss: {{energy: 0.01, forces: 10000, charges: 100}}
"""


def labelled(rng: np.random.Generator, height: float) -> ase.Atoms:
    """A shaken slab of 41 atoms, turned anyhow, under Na+ or Cl- at a height in Å."""
    metal = slab(5, 2, SPACING) + 0.08 * rng.normal(size=(41, 3))
    ion = np.array([*rng.uniform(-4, 4, 2), metal[:, 2].max() + height])
    charge = float(rng.choice([-1, 1]))
    found = METAL.response(metal, ion, charge)
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    atoms = ase.Atoms(
        ["Ag"] * 41 + ["Na" if charge > 0 else "Cl"], np.append(metal, [ion], axis=0) @ turn.T
    )
    assert np.min(np.linalg.norm(metal - ion, axis=1)) > REACH
    atoms.info.update(total_charge=charge, REF_energy=found.energy)
    atoms.set_array("REF_forces", np.append(found.metal_forces, [found.ion_force], axis=0) @ turn.T)
    atoms.set_array("REF_charges", np.append(found.charges, charge))
    return atoms


def trained(kind: str, epochs: int, folder) -> tuple[object, list[ase.Atoms]]:
    rng = np.random.default_rng(0)
    frames = [labelled(rng, height) for height in rng.uniform(7.5, 12.0, 64)]
    ase.io.write(folder / "train.xyz", frames[:48], format="extxyz")
    ase.io.write(folder / "test.xyz", frames[48:], format="extxyz")
    solver = {"kind": kind} | ({"initial_hardness": 10.0} if kind == "scf" else {})
    text = CONFIG.format(kind=kind, epochs=epochs, width=MODEL_WIDTH, solver=json.dumps(solver))
    config = yaml.safe_load(text)
    config["run"]["dir"] = str(folder)
    if kind == "none":
        del config["train"]["loss"]["charges"]
    if kind == "scf":
        # Neutral metals say nothing of where its Fermi level starts, which grounded ones need.
        config["train"]["loss"]["legendre_gap"] = 0.01
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    run_training(folder / "run.yaml", [], "never", lambda line: None)
    return ej.load(folder / kind / "model.ejx"), frames[48:]


def ion_error(model, frames: list[ase.Atoms]) -> float:
    """RMS error of the force on the ion over its RMS."""
    found = np.array([p.forces[-1] for p in ej.predict(model, frames)])
    wanted = np.array([f.arrays["REF_forces"][-1] for f in frames])
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


@pytest.mark.slow
def test_scf_learns_the_image_force_and_carries_it_to_a_wider_slab(tmp_path):
    """Other width and hardness than the labels'; 481 neutral or grounded atoms after 41."""
    model, frames = trained("scf", 250, tmp_path)
    assert ion_error(model, frames) < 0.1
    metal = slab(16, 2, SPACING)
    level = ej.predict(model, ase.Atoms(["Ag"] * len(metal), metal)).fermi_level
    held = {"charge_control": "fixed_potential", "fermi_level": level}
    for height in (7.5, 9.0):
        positions = np.append(metal, [[0.0, 0.0, height]], axis=0)
        atoms = ase.Atoms(["Ag"] * len(metal) + ["Na"], positions, info={"total_charge": 1.0})
        for info, metal_charge in (({}, 0.0), (held, None)):
            atoms.info.update(info)
            force = ej.predict(model, atoms).forces[-1][2]
            wanted = METAL.response(metal, positions[-1], 1.0, metal_charge).ion_force[2]
            np.testing.assert_allclose(force, wanted, rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "local"])
def test_what_is_local_keeps_the_image_force_as_error(tmp_path, kind):
    """none: exactly no force; local: charges that do not know where the ion is."""
    model, frames = trained(kind, 100, tmp_path)
    assert ion_error(model, frames) > 0.7
    near, far = frames[0].copy(), frames[0].copy()
    far.positions[-1] += 0.4 * (far.positions[-1] - far.positions[:-1].mean(axis=0))
    one, other = (ej.predict(model, f) for f in (near, far))
    if kind == "none":
        assert not np.any(one.forces[-1]) and not np.any(other.forces[-1])
    else:
        np.testing.assert_allclose(one.charges, other.charges, atol=1e-6)
