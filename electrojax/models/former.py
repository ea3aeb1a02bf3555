"""Options that came later, or got another default: what models of before them have."""

from collections.abc import Mapping
from typing import Any

FORMER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "scf": {"energy": "coulomb", "potentials": "absolute"},
    "non_scf": {"potentials": "absolute"},
}
"""By solver kind, option and value, of configurations in which the option is not written."""


def unwritten(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a model's solver that its configuration lacks, as they were then.

    Args:
        model: the ``model`` section, with every default of its time written out.
    """
    solver = model["solver"]
    kind = solver["kind"]
    former = dict(FORMER_DEFAULTS.get(kind, {})) if isinstance(kind, str) else {}
    if kind == "scf" and solver.get("response", "symmetric") == "symmetric":
        del former["potentials"]  # which it has none of
    return {name: value for name, value in former.items() if name not in solver}


def completed(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the ``model`` section with what its version did not write."""
    return {**model, "solver": {**model["solver"], **unwritten(model)}}


def written(model: Mapping[str, Any], solver: Any) -> dict[str, Any]:
    """Returns the ``model`` section with those options written out, as the solver has them.

    Args:
        model: the section, which may lack options that have their default.
        solver: the module that it describes.
    """
    values = {name: getattr(solver, name) for name in unwritten(model)}
    return {**model, "solver": {**model["solver"], **values}}
