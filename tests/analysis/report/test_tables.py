"""Means, spreads and marks, against numbers computed by hand."""

import pytest

from electrojax.analysis.report.groups import group_runs
from electrojax.analysis.report.runs import read_run
from electrojax.analysis.report.tables import (
    Statistic,
    best_of,
    check_measured,
    column,
    comparison,
    measured,
    statistic,
    usual_metrics,
)
from electrojax.errors import ConfigError


def test_mean_and_sample_standard_deviation():
    found = statistic([2.0, 4.0, 9.0])
    assert found.mean == 5.0 and found.count == 3
    assert found.spread == pytest.approx(3.605551275463989)  # √((9 + 1 + 16) / 2) = √13
    assert statistic([7.0]) == Statistic(7.0, None, 1)
    assert statistic([]) is None


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (54.321, 1.234, "54.3 ± 1.2"),
        (398.2, 86.4, "398 ± 86"),
        (0.01234, 0.00056, "0.01234 ± 0.00056"),
        (12345.6, 321.0, "12346 ± 321"),
        (8.0897327, 0.0000058, "8.0897 ± 6e-06"),
        (0.0, 0.0123, "0.000 ± 0.012"),
        (54.321, None, "54.32"),
        (3.0, 0.0, "3 ± 0"),
    ],
)
def test_texts_end_with_the_second_digit_of_the_spread(mean, spread, text):
    assert str(Statistic(mean, spread, 2)) == text


def cell(mean, spread, count=3):
    return Statistic(mean, spread, count)


def test_the_best_leads_every_other_by_more_than_the_spread_of_the_difference():
    # √(3² + 4²) = 5
    assert best_of([cell(10.0, 3.0), cell(15.1, 4.0)], "low") == 0
    assert best_of([cell(10.0, 3.0), cell(15.0, 4.0)], "low") is None
    assert best_of([cell(10.0, 3.0), cell(15.1, 4.0)], "high") == 1
    # the second is far enough, a third with a wide spread is not
    assert best_of([cell(10.0, 1.0), cell(15.0, 1.0), cell(30.0, 25.0)], "low") is None
    assert best_of([None, cell(10.0, 1.0), cell(15.0, 1.0)], "low") == 1


def test_nothing_is_best_without_a_spread_or_a_rival():
    assert best_of([cell(1.0, None, 1), cell(99.0, None, 1)], "low") is None
    assert best_of([cell(1.0, 0.1), cell(99.0, None, 1)], "low") is None
    assert best_of([cell(1.0, 0.1), None], "low") is None
    assert best_of([cell(1.0, 0.1), cell(9.0, 0.1)], "") is None
    assert best_of([cell(1.0, 0.0), cell(1.0, 0.0)], "low") is None


def test_a_comparison_of_two_kinds_and_three_seeds(make_run):
    errors = {"local": (50.0, 52.0, 57.0), "scf": (41.0, 40.0, 42.0)}
    runs = [
        read_run(
            make_run(f"{k}_{s}", kind=k, seed=s, finals={"test/forces_rmse": e, "test/x_r2": 1})
        )
        for k, values in errors.items()
        for s, e in enumerate(values)
    ]
    table = comparison(group_runs(runs), ["test/forces_rmse", "test/energy_rmse"], "t")
    assert table.rows == ["local", "scf"] and table.counts == [3, 3]
    local, scf = (row[0] for row in table.cells)
    assert (local.mean, scf.mean) == (53.0, 41.0)
    assert local.spread == pytest.approx(13**0.5) and scf.spread == pytest.approx(1.0)
    assert table.best(0) == 1  # 12 > √14
    assert table.best(1) is None  # equal
    assert [c.unit for c in table.columns] == ["meV/Å", "meV/atom"]


def test_a_metric_of_one_kind_only_leaves_a_gap(make_run):
    one = read_run(make_run("a", kind="none"))
    other = read_run(make_run("b", kind="local", finals={"test/charges_rmse": 20.0}))
    table = comparison(group_runs([one, other]), ["test/charges_rmse"], "t")
    assert table.cells[0][0] is None and table.cells[1][0].mean == 20.0


def test_an_unknown_metric_is_refused_with_those_there(make_run):
    told = r'"test/force_rmse" was measured by none.*test/forces_rmse'
    with pytest.raises(ConfigError, match=told):
        check_measured([read_run(make_run("a"))], ["test/forces_rmse", "test/force_rmse"])


def test_usual_metrics(make_run):
    finals = {"test/energy_mae": 1.0, "test/charges_rmse": 1.0, "scf/steps": 0.0}
    groups = group_runs([read_run(make_run("a", finals=finals))])
    chosen = usual_metrics(groups)
    assert chosen[:3] == ["test/energy_rmse", "test/forces_rmse", "test/charges_rmse"]
    assert "scf/steps" not in chosen and "time/step_ms" in chosen
    iterating = group_runs([read_run(make_run("b", kind="scf", finals={"scf/steps": 3.0}))])
    assert "scf/steps" in usual_metrics(iterating)
    known = measured(groups[0].runs)
    assert known[0].startswith("test/") and {"valid/loss", "time/training_s"} <= set(known)
    assert not {"epoch", "step", "final"} & set(known)


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("test/forces_rmse", "meV/Å", "low"),
        ("valid/multipoles_l1_mae", "me·Å^l", "low"),
        ("test/fermi_level_rmse", "meV", "low"),
        ("test/forces_r2", "", "high"),
        ("time/step_ms", "ms", "low"),
        ("memory/peak_mib", "MiB", "low"),
        ("scf/steps", "", "low"),
        ("learning_rate", "", ""),
    ],
)
def test_units_and_directions(name, unit, better):
    assert (column(name).unit, column(name).better) == (unit, better)
