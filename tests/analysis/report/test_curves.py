"""Curves along a distance against Coulomb's law."""

import numpy as np
import pytest

from electrojax.analysis.report.curves import asymptote, curve_table, curves
from electrojax.analysis.report.elements import element_errors, element_table, parity
from electrojax.analysis.report.groups import group_runs
from electrojax.analysis.report.runs import read_run
from electrojax.units import COULOMB
from tests.analysis.report.conftest import cluster, dimer, predictions

DISTANCES = (15.0, 7.0, 11.0)


def scan(*arguments, **options):
    return [dimer(arguments[0], d, *arguments[1:], **options) for d in DISTANCES]


def curve_of(make_run, frames, **options):
    (found,) = curves(read_run(make_run("a", frames=frames, noise=0.0, **options)))
    return found


@pytest.mark.parametrize(("charges", "product"), [((1.0, 1.0), 1.0), ((2.0, -1.0), -2.0)])
def test_exact_predictions_lie_on_the_asymptote(make_run, charges, product):
    curve = curve_of(make_run, scan("AB", charges))
    r = np.array([7.0, 11.0, 15.0])
    assert curve.kind == "dissociation" and curve.strength == pytest.approx(product * COULOMB)
    np.testing.assert_array_equal(curve.distance, r)
    np.testing.assert_allclose(curve.predicted, product * COULOMB / r, rtol=1e-12)
    np.testing.assert_allclose(curve.reference, curve.predicted)
    np.testing.assert_allclose(curve.predicted_force, product * COULOMB / r**2, rtol=1e-6)
    along, energy, force = asymptote(curve)
    np.testing.assert_allclose(
        [energy[0], force[-1]], product * COULOMB * np.array([1 / 7, 1 / 225])
    )
    assert along[0] == 7.0 and along[-1] == 15.0


def test_a_model_without_charges_feels_nothing_and_ends_on_the_asymptote(make_run):
    curve = curve_of(make_run, scan("AB"), kind="none")
    np.testing.assert_allclose(curve.predicted, COULOMB / 15.0)
    np.testing.assert_allclose(curve.predicted_force, 0.0)
    groups = group_runs([read_run(make_run("b", frames=scan("AB"), noise=0.0, kind="none"))])
    table = curve_table(groups, "dissociation", ["AB"])
    expected = 1e3 * COULOMB * np.sqrt(np.mean([1 / d**4 for d in DISTANCES]))
    assert [c.name for c in table.columns] == ["AB"]
    assert table.cells[0][0].mean == pytest.approx(expected, rel=1e-6)


def test_scans_are_aligned_one_by_one_and_those_without_a_far_end_are_left_out(make_run):
    frames = scan("AB", scan="a") + scan("AB", scan="b", shift=0.7)
    frames += [dimer("AB", r, scan="near") for r in (3.0, 5.0)]
    found = curves(read_run(make_run("a", frames=frames, noise=0.0)))
    assert len(found) == 2
    for curve in found:
        np.testing.assert_allclose(curve.predicted, COULOMB / curve.distance)


def test_structures_of_the_training_set_are_drawn_and_do_not_count(make_run):
    frames = scan("AB") + [dimer("AB", r, split="train") for r in (3.0, 5.0)]
    run = read_run(make_run("a", frames=frames, noise=0.0, kind="none"))
    (curve,) = curves(run)
    np.testing.assert_array_equal(curve.seen, [True, True, False, False, False])
    expected = 1e3 * COULOMB * np.sqrt(np.mean([1 / d**4 for d in DISTANCES]))
    (cell,) = curve_table(group_runs([run]), "dissociation", []).cells[0]
    assert cell.mean == pytest.approx(expected, rel=1e-6)
    assert asymptote(curve)[0][0] == 5.0  # a third of the way out


def test_the_table_tells_classes_of_systems_apart(make_run):
    frames = scan("AB") + scan("CD") + scan("AX", (1.0, 0.0))
    groups = group_runs([read_run(make_run("a", frames=frames, noise=0.0, kind="none"))])
    table = curve_table(groups, "dissociation", ["AB"])
    means = dict(zip([c.name for c in table.columns], [cell.mean for cell in table.cells[0]]))
    assert list(means) == ["all", "charge – charge", "charge – neutral", "AB"]
    assert means["charge – neutral"] == 0.0 and means["charge – charge"] == means["AB"] > 100
    assert means["all"] == pytest.approx(means["AB"] * (2 / 3) ** 0.5)


def test_an_image_charge_pulls(make_run):
    curve = curve_of(make_run, scan("ion", (1.0, -1.0), image=True))
    assert curve.kind == "image" and curve.strength == pytest.approx(-COULOMB / 4)
    np.testing.assert_allclose(curve.predicted_force, -COULOMB / (4 * curve.distance**2), rtol=1e-6)
    groups = group_runs([read_run(make_run("b", frames=scan("ion", image=True)))])
    assert curve_table(groups, "dissociation", []) is None


def test_told_fragment_charges_come_before_labelled_ones(make_run):
    frames = scan("AB", (0.5, 0.5))
    for frame in frames:
        frame.tags["fragment_charges"] = np.array([0.98, 1.0])
    assert curve_of(make_run, frames).strength == pytest.approx(COULOMB)


def test_charges_that_are_no_integers_stay_as_they_are(make_run):
    assert curve_of(make_run, scan("AB", (0.5, 0.5))).strength == pytest.approx(COULOMB / 4)


def test_several_structures_at_one_distance_are_averaged(make_run):
    curve = curve_of(make_run, scan("AB") + scan("AB"))
    assert len(curve.distance) == 3
    np.testing.assert_allclose(curve.predicted, COULOMB / curve.distance)


def test_no_curves_without_several_distances_or_predictions(make_run, rng):
    assert curves(read_run(make_run("a", frames=[cluster(rng), dimer("AB", 8.0)]))) == []
    assert curves(read_run(make_run("b"))) == []


def test_without_fragments_there_are_energies_only(make_run):
    import dataclasses

    frames = [dataclasses.replace(frame, fragment=None) for frame in scan("AB")]
    curve = curve_of(make_run, frames)
    assert not curve.has_forces and np.isnan(curve.strength) and curve.predicted[-1] == 0.0


def test_errors_by_element(make_run, rng):
    frames = [cluster(rng), cluster(rng)]
    run = read_run(make_run("a", frames=frames, noise=0.05))
    kept = run.predictions
    delta = (kept.predicted["forces"] - kept.reference["forces"]).astype(float)
    expected = {z: 1e3 * np.sqrt(np.mean(delta[kept.numbers == z] ** 2)) for z in (1, 8)}
    assert element_errors(run, "forces") == pytest.approx(expected)
    table = element_table(group_runs([run]), "forces")
    assert [c.name for c in table.columns] == ["H", "O"]
    assert element_table(group_runs([read_run(make_run("b"))]), "forces") is None


def test_parity_points_keep_the_worst(rng):
    frames = [cluster(rng) for _ in range(20)]
    kept = predictions(frames, "local", 1, 0.01)
    kept.predicted["forces"][57, 1] += 9.0
    reference, predicted = parity(kept, "forces", 100)
    assert reference.size == 100
    assert np.max(np.abs(predicted - reference)) == pytest.approx(9.0, abs=0.1)
    energy, _ = parity(kept, "energy")
    np.testing.assert_allclose(energy, [f.labels["energy"] / 12 for f in frames])
