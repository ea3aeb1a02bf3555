"""Random PolarMACE models from the golden files; run as a script, prints the table of errors.

``python -m tests.interop.polar_golden`` needs neither torch nor mace-torch;
tests/golden/make_polar.py, which wrote the files, does.
"""

import functools
import json
from typing import Any

import ase
import jax
import numpy as np

from electrojax.interop.mace_torch import convert
from electrojax.models.potential import Potential
from electrojax.models.prediction import Prediction
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame
from tests.golden.filled import uniform
from tests.interop.mace_golden import FOLDER

CASES = sorted(p.stem.removeprefix("polar_") for p in FOLDER.glob("polar_*.npz"))


def read(case: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a golden file, its state dict and its configuration."""
    arrays = dict(np.load(FOLDER / f"polar_{case}.npz", allow_pickle=False))
    couplings = np.load(FOLDER / "mace_couplings.npz", allow_pickle=False)
    state, start = {}, 0
    for entry in json.loads(str(arrays["index"])):
        name, count = entry["name"], int(np.prod(entry["shape"]))
        if "coupling" in entry:
            state[name] = couplings[entry["coupling"]]
            continue
        if "scale" in entry:
            values = entry["offset"] + entry["scale"] * uniform(name, count)
        else:
            values, start = arrays["values"][start : start + count], start + count
        state[name] = values.reshape(entry["shape"]).astype(entry["dtype"])
    return arrays, state, json.loads(str(arrays["config"]))


def model(case: str) -> Potential:
    """Returns the model of a golden file as a potential of ours."""
    _, state, config = read(case)
    return convert(state, config)


def frame_of(case: str) -> Frame:
    """Returns the structure of a golden file; its field is minus theirs, which is ∇v."""
    arrays = read(case)[0]
    atoms = ase.Atoms(*(arrays[n] for n in ("numbers", "positions")))
    atoms.cell, atoms.pbc = arrays["cell"], arrays["pbc"]
    state = json.loads(str(arrays["state"]))
    atoms.info["total_charge"], atoms.info["multiplicity"] = state["charge"], state["spin"]
    atoms.info["external_field"] = -np.array(state.get("field", [0.0, 0.0, 0.0]))
    return frame_from_atoms(atoms, case)


@functools.cache
def predicted(case: str) -> tuple[float, Prediction]:
    """Returns the whole energy in eV and the prediction; double precision must be on."""
    potential, frame = model(case), frame_of(case)
    sample = potential.sample(frame)
    system = collate([sample], capacity_for([sample]), np.float64).system
    # Compiling is all the work here: without the backend's optimisation it takes half as long.
    quickly = {"xla_backend_optimization_level": 0}
    found = jax.jit(potential.apply, compiler_options=quickly)(potential.params, system)
    return float(found.energy[0]) + potential.atomic_energy(frame.numbers), found


def errors(case: str, against: str = "exact") -> dict[str, float]:
    """Returns the largest deviations, in eV, eV/Å, e·Å^l and eV/Å³ (where there is a stress).

    Args:
        case: name of the golden file.
        against: ``exact``, the same weights with exact Coulomb sums, or ``published``.
    """
    arrays = {
        name.removeprefix(f"{against}_"): array
        for name, array in read(case)[0].items()
        if name.startswith(against)
    }
    energy, found = predicted(case)
    atoms = len(arrays["multipoles"])
    ours = {
        "forces": found.forces,
        "multipoles": found.density.multipoles.sum(axis=1),
        "spin_multipoles": found.spin_multipoles,
    }
    result = {"energy": abs(energy - float(arrays["energy"]))}
    for name, values in ours.items():
        result[name] = float(np.abs(values[:atoms] - arrays[name]).max())
    if "stress" in arrays:
        result["stress"] = float(np.abs(found.stress[0] - arrays["stress"]).max())
    return result


def main() -> None:
    """Prints the deviations of every case as a table, from exact sums and from published ones."""
    names = ("energy", "forces", "multipoles", "spin_multipoles", "stress")
    print(f"| model | against | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for case in CASES:
        for against in ("exact", "published"):
            error = errors(case, against)
            shown = [f"{error[name]:.1e}" if name in error else "-" for name in names]
            print(f"| {case} | {against} | {' | '.join(shown)} |", flush=True)
    print("against", str(read(CASES[0])[0]["versions"]))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
