"""Runs a notebook's cells in this process, one namespace for all of them, without Jupyter."""

import contextlib
import io
import json
from pathlib import Path

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def code_cells(name):
    """Returns the code cells of a notebook, by its name without the suffix."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def stored_output(cell):
    """Returns what a cell printed when the notebook was saved; nothing else may be stored."""
    assert all(output["name"] == "stdout" for output in cell["outputs"])
    return "".join(line for output in cell["outputs"] for line in output["text"])


def run_notebook(name):
    """Returns what every code cell prints now, and the names that they leave."""
    names, printed = {"__name__": "__main__"}, []
    for number, cell in enumerate(code_cells(name), 1):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("".join(cell["source"]), f"{name}.ipynb [{number}]", "exec"), names)
        printed.append(out.getvalue())
    return printed, names
