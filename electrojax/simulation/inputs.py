"""Total charge, multiplicity and external field of a structure: given, never assumed."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.errors import DataError
from electrojax.models.inputs import refuse_misnamed, required_inputs
from electrojax.models.potential import Potential
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.types import Frame


def refuse_unknown(function: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Refuses options that a function does not know, as Python refuses them, with a near name.

    Raises:
        TypeError: naming the first.
    """
    for name in options:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}; {hint}")


def refuse_constraints(atoms: Any, source: str, what: str) -> None:
    """Refuses atoms with constraints that a dynamics would not keep.

    Raises:
        DataError: naming them.
    """
    if constraints := getattr(atoms, "constraints", None):
        names = ", ".join(sorted({type(c).__name__ for c in constraints}))
        raise DataError(
            f"{source} has constraints ({names}), which {what} does not keep: every atom would "
            "move; remove them (move_mask in extxyz, atoms.set_constraint() in ASE)"
        )


def frame_with_inputs(
    model: Potential,
    atoms: Any,
    given: Mapping[str, Any],
    source: str = "structure",
    override: bool = False,
) -> Frame:
    """Returns atoms as a frame, with inputs from arguments or from ``atoms.info``.

    Args:
        model: decides which inputs are needed.
        atoms: an ``ase.Atoms``.
        given: inputs by name; None where not given.
        source: name of the structure in messages.
        override: whether an argument may differ from ``atoms.info``.

    Raises:
        DataError: if an input that the model conditions on is in neither, both differ, or one has a
            name that is not read.
    """
    frame = frame_from_atoms(atoms, source)
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        written = atoms.info.get(name)
        if written is not None and not override and not np.allclose(written, value, atol=1e-9):
            raise DataError(
                f"{source}: {name} is {_plain(written)} in atoms.info but {_plain(value)} was "
                "given; they must agree: correct one, or drop it"
            )
    refuse_misnamed(model, frame, atoms, chosen)
    for name in required_inputs(model, frame):
        if name not in chosen and atoms.info.get(name) is None:
            raise DataError(
                f"{source}: the model conditions on {name} and none was given; give it as an "
                f"argument, or set atoms.info[{name!r}] (0 for a neutral structure)"
            )
    changes = {name: _checked(name, value, source) for name, value in chosen.items()}
    return dataclasses.replace(frame, **changes)


def _checked(name: str, value: Any, source: str) -> Any:
    wanted = (3,) if name == "external_field" else ()
    values = np.asarray(value, dtype=np.float64)
    if values.shape != wanted or not np.all(np.isfinite(values)):
        what = "3 finite components in V/Å" if wanted else "a finite number"
        raise DataError(f"{source}: {name} needs {what}, got {_plain(value)}")
    return values if wanted else float(values)


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()
