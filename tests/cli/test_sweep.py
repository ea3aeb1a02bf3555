"""The verb `sweep`: exit codes and what is printed."""

import pytest

SWEEP = """\
sweep: {name: small, base: quickstart}
axes: {model.solver: [solver/local], run.seed: [1, 2]}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(SWEEP)


def test_status_before_anything_ran(electrojax):
    result = electrojax("sweep", "status", "sweep.yaml")
    assert result.code == 0
    lines = result.out.splitlines()
    assert len(lines) == 3 and all("waiting" in line for line in lines)
    assert lines[-1].endswith("runs/small: 2 waiting; nobody at work")


@pytest.mark.parametrize("verb", ["plan", "run", "status"])
def test_a_bad_sweep_is_answered_with_its_place(verb, electrojax, tmp_path):
    result = electrojax("sweep", verb, "sweep.yaml", "--set", "sweep.base=absent")
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("error: --set #1  sweep.base   no file absent beside sweep.yaml")
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.yaml"]


def test_a_missing_file(electrojax):
    result = electrojax("sweep", "run", "absent.yaml")
    assert result.code == 2 and "absent.yaml  no such file" in result.err


def test_points_that_failed_are_the_exit_code(electrojax, monkeypatch):
    from electrojax.errors import ConvergenceError
    from electrojax.sweep import verbs

    def fail(*arguments):
        raise ConvergenceError("1 point failed; `electrojax sweep status` tells why")

    monkeypatch.setattr(verbs, "run_sweep", fail)
    result = electrojax("sweep", "run", "sweep.yaml")
    assert result.code == 3 and "1 point failed" in result.err


def test_an_interrupted_sweep_says_how_to_go_on(electrojax, monkeypatch):
    from electrojax.sweep import verbs

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "run_sweep", interrupt)
    result = electrojax("sweep", "run", "sweep.yaml")
    assert result.code == 130 and "the same command goes on" in result.err
