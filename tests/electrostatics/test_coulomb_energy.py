"""`coulomb_energy`: published numbers, external fields, and every refusal."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.density import ChargeDensity, dipole, l_max_of, total_charge
from electrojax.electrostatics.energy import coulomb_energy
from electrojax.electrostatics.field import field_energy
from electrojax.errors import CapacityError, ConfigError, DataError
from electrojax.system.batching import build_sample, on_device
from electrojax.typing import replace
from tests.electrostatics import reference as ref

GOLDEN = json.loads((Path(__file__).parent.parent / "golden/electrostatics.json").read_text())
CASES = {case["name"]: case for case in GOLDEN["cases"]}
PAIR = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])


def of_case(case, **changes):
    keys = ("positions", "multipoles", "width", "cell", "boundary", "self_interaction")
    return coulomb_energy(**({key: case[key] for key in keys} | changes))


@pytest.mark.parametrize("name", sorted(n for n in CASES if CASES[n]["boundary"] != "slab"))
def test_reference_energies(name):
    energy = of_case(CASES[name])
    assert isinstance(energy, float)
    assert abs(energy - CASES[name]["energy"]) < CASES[name]["tolerance"]


@pytest.mark.parametrize("name", sorted(n for n in CASES if CASES[n]["boundary"] == "slab"))
def test_reference_energies_of_slabs_in_the_height_of_their_cells(name, x64):
    """Published slabs are summed in the cell given, images and all; ours are open: 0.1-0.6 meV."""
    case = CASES[name]
    positions, multipoles = np.array(case["positions"]), np.array(case["multipoles"])
    cell, l_max = np.array(case["cell"]), l_max_of(multipoles.shape[1])
    engine = replace(engine_for("slab", 1e-8, case["self_interaction"]), neutral=True)
    plan = engine.k_box(cell, case["width"], l_max), 0.0, cell
    sample = build_sample(ref.frame(positions, cell, "slab_z"), 0.5, *plan)
    operator = ref.prepare(engine, l_max, case["width"], on_device(sample.system))
    energy = float(ref.energy(operator, multipoles)[0])
    assert abs(energy - case["energy"]) < case["tolerance"]
    assert 1e-5 < abs(of_case(case) - energy) < 1e-3


def test_float64_whatever_the_default_and_the_default_is_kept():
    before = jax.config.jax_enable_x64
    assert abs(of_case(CASES["charge_pair"]) - CASES["charge_pair"]["energy"]) < 1e-12
    assert jax.config.jax_enable_x64 == before


def test_external_field_of_ions_and_dipoles(rng):
    """−E·Σ(q r + μ), with the dipole in the order (y, z, x)."""
    positions, multipoles, _ = ref.random_structure(rng, 4)
    field = np.array([0.1, -0.2, 0.3])
    charges, dipoles = ref.cartesian(multipoles)
    expected = -field @ (charges @ positions + dipoles.sum(axis=0))
    with_field = coulomb_energy(positions, multipoles, external_field=field)
    assert abs(with_field - coulomb_energy(positions, multipoles) - expected) < 1e-12


def test_charge_dipole_and_field_energy_of_a_batch(rng, x64):
    first, second = ref.random_structure(rng, 4), ref.random_structure(rng, 2)
    structures = [(first[0], first[2]), (second[0], second[2])]
    _, system, _ = ref.prepared("open", structures, extra=(3, 1))
    multipoles = rng.normal(size=(9, 2, 4))
    density = ChargeDensity(multipoles, np.ones(9))
    expected = np.zeros((3, 3))
    for graph, part in enumerate((slice(0, 4), slice(4, 6))):
        charges, dipoles = ref.cartesian(multipoles[part].sum(axis=1))
        expected[graph] = charges @ structures[graph][0] + dipoles.sum(axis=0)
        np.testing.assert_allclose(total_charge(density, system)[graph], charges.sum(), rtol=1e-12)
    np.testing.assert_allclose(dipole(density, system), expected, rtol=1e-12, atol=1e-13)
    field = jnp.asarray(rng.normal(size=(3, 3)))
    energy = field_energy(density, replace(system, external_field=field))
    np.testing.assert_allclose(energy, -(field * expected).sum(axis=1), rtol=1e-12, atol=1e-13)
    with pytest.raises(ConfigError, match="needed boundary 'open'"):
        field_energy(density, replace(system, boundary="periodic"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": [[0, 0, np.nan], [0, 0, 1]]}, r"positions: .* nan at index \[0, 2\]"),
        ({"positions": [0.0, 1.0, 2.0]}, r"positions: needed shape \[N, 3\].*got \(3,\)"),
        ({"positions": np.zeros((0, 3)), "multipoles": []}, "N >= 1"),
        ({"positions": "water"}, "positions: needed an array of numbers"),
        ({"multipoles": [1.0]}, r"multipoles: .* 2 positions, got \(1,\)"),
        ({"multipoles": np.zeros((2, 3))}, "multipoles: .* got 3"),
        ({"multipoles": np.zeros((2, 16))}, "multipoles: .* got 16"),
        ({"multipoles": [1.0, np.inf]}, "multipoles: .* inf"),
        (
            {"width": 0.0, "positions": np.ones((2, 3)), "self_interaction": False},
            "point charges .* at one place",
        ),
        ({"width": -1.0}, "width: .* positive"),
        ({"width": np.nan}, "width: .* finite"),
        ({"multipoles": [1.0, np.nan]}, "multipoles: .* nan"),
        ({"multipoles": [1j, 0.0]}, "multipoles: needed an array of numbers"),
        ({"multipoles": [[1.0, 0.0], [0.0]]}, "multipoles: needed an array of numbers"),
        (
            {"boundary": "periodic", "cell": [[9, 0, 0], [0, 9, 0], [9, 9, 0]]},
            "span no volume",
        ),
        ({"boundary": "slab", "cell": [[9, 0, 0], [18, 0, 0], [0, 0, 9]]}, "three lattice"),
        ({"width": [1.0, 1.0, 1.0]}, r"width: .* got \(3,\)"),
        ({"boundary": "periodic"}, "cell: needed for boundary 'periodic'"),
        ({"boundary": "periodic", "cell": [5.0, 5.0, 5.0]}, r"numpy\.diag.*got \(3,\)"),
        ({"boundary": "periodic", "cell": np.zeros((3, 3))}, "span no volume"),
        ({"boundary": "periodic", "cell": np.full((3, 3), np.nan)}, "cell: .*nan"),
        ({"external_field": [1.0]}, r"external_field: .*got \(1,\)"),
    ],
)
def test_wrong_data_is_refused(changes, message):
    arguments = {"positions": PAIR, "multipoles": [1.0, -1.0]} | changes
    with pytest.raises(DataError, match=message):
        coulomb_energy(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boundary": "box"}, "boundary 'box' does not exist; needed open or periodic or slab"),
        ({"method": "guess"}, "method 'guess' does not exist; needed auto or direct or ewald"),
        (
            {"finite_size": "large"},
            "finite_size 'large' does not exist; needed none or makov_payne",
        ),
        ({"normal": 3}, "normal 3; needed 0, 1 or 2"),
        ({"boundary": "wire"}, "boundary 'wire' does not exist"),
        ({"width": 0.0}, "interaction with itself is infinite"),
        ({"counter_charge": "plane", "counter_heights": [9.0]}, "needed boundary 'slab'"),
        ({"accuracy": np.nan, "boundary": "periodic", "cell": 9 * np.eye(3)}, "accuracy nan"),
        (
            {"accuracy": 1e-12, "boundary": "periodic", "cell": 9 * np.eye(3), "method": "mesh"},
            "accuracy 1e-12 on a mesh; needed at least",
        ),
        ({"accuracy": 1e-20, "boundary": "periodic", "cell": np.eye(3)}, "accuracy 1e-20"),
        (
            {"boundary": "periodic", "cell": 9 * np.eye(3), "external_field": [0, 0, 1]},
            "external field with boundary 'periodic'",
        ),
        (
            {"boundary": "periodic", "cell": 9 * np.eye(3), "width": [1, 2], "method": "direct"},
            "one width for all",
        ),
    ],
)
def test_options_that_do_not_exist_are_refused(changes, message):
    arguments = {"positions": PAIR, "multipoles": [1.0, -1.0]} | changes
    with pytest.raises(ConfigError, match=message):
        coulomb_energy(**arguments)


def test_an_accuracy_beyond_the_k_vectors_is_refused():
    options = {"boundary": "periodic", "cell": 90 * np.eye(3), "method": "direct"}
    with pytest.raises(CapacityError, match=r"width of 0\.01 Å in a cell of"):
        coulomb_energy(PAIR, [1.0, -1.0], 0.01, accuracy=1e-12, **options)


def test_points_in_the_open(rng):
    """Coulomb's law for charges and dipoles; every order as the limit of narrow Gaussians."""
    options = {"self_interaction": False}
    assert abs(coulomb_energy(PAIR, [2.0, -1.0], 0.0, **options) + 2 * ref.K_E / 3) < 1e-13
    along = [[0, 0, 0.5, 0], [0, 0, 0.2, 0]]
    expected = -2 * ref.K_E * 0.1 / 27
    assert abs(coulomb_energy(PAIR, along, 0.0, **options) - expected) < 1e-14
    positions, multipoles, _ = ref.random_structure(rng, 5, l_max=2)
    energy = coulomb_energy(positions, multipoles, 0.0, **options)
    narrow = coulomb_energy(positions, multipoles, 0.05, **options)
    assert abs(energy - narrow) < 1e-9 * abs(energy)
    some = coulomb_energy(positions, multipoles, [0.0, 1.0, 0.0, 0.5, 0.0], **options)
    nearly = coulomb_energy(positions, multipoles, [0.02, 1.0, 0.02, 0.5, 0.02], **options)
    assert abs(some - nearly) < 1e-3 * abs(some)
    assert abs(some - energy) > 1e-2 * abs(some)


def test_counter_charge_of_a_slab():
    """A charged sheet and a plane at another distance: 2π k_e Q² d/area."""
    options = {"cell": np.diag([6.0, 6.0, 30.0]), "boundary": "slab", "counter_charge": "plane"}
    near, far = (
        coulomb_energy(PAIR, [0.5, 0.5], 1.0, counter_heights=[h], **options) for h in (12.0, 13.0)
    )
    assert abs(far - near - 2 * np.pi * ref.K_E / 36) < 1e-9


def test_engines_by_boundary():
    assert engine_for("open") == engine_for("open", accuracy=1e-3)
    assert engine_for("periodic", 1e-4) != engine_for("periodic", 1e-5)
    assert hash(engine_for("periodic")) == hash(engine_for("periodic"))
    assert engine_for("open").k_box(np.eye(3), 1.0, 1) == (0, 0, 0)


def test_l_max_of_components():
    assert [l_max_of(m) for m in (1, 4, 9)] == [0, 1, 2]
    with pytest.raises(ConfigError, match="5 multipole components"):
        l_max_of(5)
