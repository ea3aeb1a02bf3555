"""The notebooks run, and print what they were saved with."""

from tests.notebooks import NOTEBOOKS, code_cells, run_notebook, stored_output

NEED_A_MODEL = {"predict"}
"""Run in tests/cli/test_main_job.py, which has a trained one."""


def test_every_notebook_is_run():
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert names == {"coulomb_energy", *NEED_A_MODEL}
    for name in names:
        outputs = [stored_output(cell) for cell in code_cells(name)]
        assert any(outputs) and not any("Error" in text for text in outputs)


def test_the_coulomb_energies_are_those_that_are_shown():
    printed, names = run_notebook("coulomb_energy")
    assert printed == [stored_output(cell) for cell in code_cells("coulomb_energy")]
    assert abs(names["madelung"] - 1.747564594633) < 1e-8
