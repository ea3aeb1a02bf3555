"""Recipe files, random clusters, fragments, trajectories and separated pairs."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.lj import LennardJones

from electrojax.data.making.recipe import Dynamics, load_recipe, recipe_names
from electrojax.data.making.sampling import (
    RESTARTS,
    Trajectory,
    fragments,
    parse_composition,
    random_cluster,
    random_rotation,
    random_stream,
    separate,
)
from electrojax.errors import ConfigError, DataError

DYNAMICS = Dynamics(
    timestep=1.0, hydrogen_mass=4, friction=0.05, equilibration=5, interval=5, accuracy=1
)


def test_the_shipped_recipe_asks_for_four_hundred_frames():
    recipe = load_recipe("ion_water")
    per_temperature = len(recipe.clusters.compositions) * len(recipe.temperatures)
    train = per_temperature * recipe.clusters.frames.train
    evaluation = per_temperature * recipe.clusters.frames.evaluation
    train += sum(entry.frames.train for entry in recipe.separated)
    evaluation += sum(entry.frames.evaluation for entry in recipe.separated)
    assert (train, evaluation) == (320, 80)
    assert recipe_names() == ["charged_dimers", "field_clusters", "ion_water"]


@pytest.mark.parametrize(
    ("composition", "expected"),
    [
        ("(H2O)2", ([], 2, 0)),
        ("Na(H2O)4", (["Na"], 4, 1)),
        ("Cl", (["Cl"], 0, -1)),
        ("NaCl(H2O)3", (["Na", "Cl"], 3, 0)),
    ],
)
def test_compositions_carry_their_charge(composition, expected):
    assert parse_composition(composition) == expected


@pytest.mark.parametrize("composition", ["", "K(H2O)2", "H2O", "(H2O)2Na"])
def test_other_compositions_are_refused(composition):
    with pytest.raises(ConfigError, match="needs Na, Cl and"):
        parse_composition(composition)


def test_random_cluster_holds_whole_waters_that_do_not_overlap():
    cluster = random_cluster("NaCl(H2O)4", np.random.default_rng(0))
    assert str(cluster.symbols) == "NaCl" + "OH2" * 4
    distances = cluster.get_all_distances()
    for oxygen in range(2, 14, 3):
        np.testing.assert_allclose(distances[oxygen, oxygen + 1 : oxygen + 3], 0.969, atol=2e-3)
        others = np.delete(distances[oxygen : oxygen + 3], np.s_[oxygen : oxygen + 3], axis=1)
        assert others.min() > 1.9
    assert cluster.info["total_charge"] == 0


def test_fragments_are_components_of_contacts_closer_than_the_gap():
    positions = np.array([[0, 0, 0], [9, 0, 0], [3, 0, 0], [6, 0, 0], [13.5, 0, 0.0]])
    assert fragments(positions, 4.0).tolist() == [0, 0, 0, 0, 1]
    assert fragments(positions, 3.0).tolist() == [0, 1, 2, 3, 4]


def test_random_rotations_are_proper_and_uniform():
    rng = np.random.default_rng(1)
    rotations = np.stack([random_rotation(rng) for _ in range(4000)])
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(1, 2), np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-12)
    # Haar measure: every matrix element has mean 0 and variance 1/3.
    np.testing.assert_allclose(rotations.mean(axis=0), 0.0, atol=0.04)
    np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.03)


def test_separated_parts_keep_their_shape_distance_and_gap():
    rng = np.random.default_rng(2)
    first, second = random_cluster("Na(H2O)4", rng), random_cluster("Cl(H2O)1", rng)
    pair = separate(first, second, (7.0, 9.0), 4.0, rng)
    distances = pair.get_all_distances()
    np.testing.assert_allclose(distances[:13, :13], first.get_all_distances(), atol=1e-10)
    np.testing.assert_allclose(distances[13:, 13:], second.get_all_distances(), atol=1e-10)
    assert distances[:13, 13:].min() >= 4.0
    assert 7.0 <= distances[0, 13] <= 9.0
    assert pair.info["distance"] == pytest.approx(distances[0, 13], abs=1e-4)
    assert pair.info["total_charge"] == 0
    assert pair.info["composition"] == "Na(H2O)4|Cl(H2O)1"


def test_an_impossible_gap_is_an_error():
    rng = np.random.default_rng(3)
    first = random_cluster("Na(H2O)4", rng)
    with pytest.raises(DataError, match="widen `distance`"):
        separate(first, first, (2.0, 3.0), 4.0, rng)


def trajectory(composition, calculator, gap=4.0, temperature=300.0):
    dropped = Counter()
    rng = random_stream(5, composition)
    return Trajectory(
        composition, temperature, DYNAMICS, gap, lambda charge: calculator, rng, dropped
    ), dropped


def test_a_trajectory_repeats_from_its_seed_and_its_frames_differ():
    calculator = LennardJones(sigma=1.5, epsilon=0.1)
    first, second = (iter(trajectory("Na(H2O)2", calculator)[0]) for _ in range(2))
    frames = [next(first) for _ in range(3)]
    for frame in frames:
        np.testing.assert_array_equal(frame.positions, next(second).positions)
    assert np.abs(frames[1].positions - frames[0].positions).max() > 1e-3
    assert "momenta" not in frames[0].arrays
    np.testing.assert_allclose(frames[0].get_masses()[-1], 1.008)


def test_a_cluster_that_falls_apart_is_counted_and_begun_anew():
    stream, dropped = trajectory("(H2O)3", LennardJones(sigma=1.5, epsilon=0.1), gap=1.2)
    with pytest.raises(DataError, match="no stable trajectory"):
        next(iter(stream))
    assert dropped == {"evaporated": RESTARTS}


class Diverging(Calculator):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own form

    def calculate(self, *args, **kwargs):
        raise CalculationFailed("SCF not converged")


def test_dynamics_that_do_not_converge_are_counted():
    stream, dropped = trajectory("(H2O)2", Diverging())
    with pytest.raises(DataError, match="no stable trajectory"):
        next(iter(stream))
    assert dropped == {"md_not_converged": RESTARTS}


def test_a_bare_ion_needs_no_dynamics():
    stream, _ = trajectory("Cl", Diverging())
    assert next(iter(stream)) == Atoms("Cl")


def test_streams_do_not_depend_on_each_other():
    assert random_stream(1, "a").random() == random_stream(1, "a").random()
    draws = {random_stream(seed, name).random() for seed in (1, 2) for name in ("a", "b")}
    assert len(draws) == 4


SHIPPED = Path(__file__).parents[3] / "electrojax/data/recipes/ion_water.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_force: 15 ", "max_forces: 15 ", 'unknown key "max_forces"; did you mean "max_force"'),
        ("seed: 20260", "seed: high", "recipe.seed: needs int, got 'high'"),
        ("max_force: 15 ", "max_force: -1 ", "needs a number >= 0, got -1"),
        ("parts: [Na(H2O)4, Cl], ", "parts: [Na(H2O)4], ", "separated.0.parts: needs a list of 2"),
        ("seed: 20260", "", "missing seed"),
        ("seed: 20260", "seed: [", "not valid YAML"),
        ("frames: {train: 4, evaluation: 1}", "frames: 4", "clusters.frames: needs a mapping"),
        ("temperatures: [150, 300, 400]", "temperatures: []", "needs at least one temperature"),
        ("seed: 20260", "seed: 1\nevaluation: [tset]", 'needs valid and test, got "tset"'),
        ("seed: 20260", "seed: 1\nfield: [0.5, 0.1]", "recipe.field: needs the weaker field first"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "recipe.yaml"
    text = SHIPPED.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_those_that_exist(tmp_path):
    with pytest.raises(ConfigError, match='no recipe named "ion_watr"; did you mean "ion_water"'):
        load_recipe("ion_watr")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_recipe(tmp_path / "absent.yaml")
