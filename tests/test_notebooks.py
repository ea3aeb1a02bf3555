"""The notebooks run, and print what they were saved with."""

import pytest

from tests.notebooks import NOTEBOOKS, code_cells, run_notebook, stored_output

NEED_A_MODEL = {"predict"}
"""Run in tests/cli/test_main_job.py, which has a trained one."""


def test_every_notebook_is_run():
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert names == {"coulomb_energy", "from_python", *NEED_A_MODEL}
    for name in names:
        outputs = [stored_output(cell) for cell in code_cells(name)]
        assert any(outputs) and not any("Error" in text for text in outputs)


def test_the_coulomb_energies_are_those_that_are_shown():
    printed, names = run_notebook("coulomb_energy")
    assert printed == [stored_output(cell) for cell in code_cells("coulomb_energy")]
    assert abs(names["madelung"] - 1.747564594633) < 1e-8


@pytest.mark.filterwarnings("default:the training compositions do not determine")
def test_scripts_can_do_what_the_verbs_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed, names = run_notebook("from_python")
    assert printed == [stored_output(cell) for cell in code_cells("from_python")]
    assert (
        names["run"].model.provides
        == names["done"].model.provides[: len(names["run"].model.provides)]
    )
    assert (names["folder"] / "trajectory.xyz").stat().st_size > 0
