"""Random models of mace-torch from the golden files; run as a script, prints the table of errors.

``python -m tests.interop.mace_golden`` needs neither torch nor mace-torch;
tests/golden/make_mace.py, which wrote the files, does.
"""

import json
from pathlib import Path
from typing import Any

import ase
import jax
import numpy as np

from electrojax.interop.mace_state import STATES
from electrojax.interop.mace_torch import convert
from electrojax.models.potential import Potential
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import capacity_for, collate

FOLDER = Path(__file__).parent.parent / "golden"
CASES = sorted(p.stem.removeprefix("mace_") for p in FOLDER.glob("mace_*-*.npz"))
"""Every file but the one with the coupling tensors."""


def read(case: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a golden file, its state dict and its configuration."""
    return read_file(f"mace_{case}")


def read_file(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a golden file with all weights in it, its state dict and its config."""
    arrays = dict(np.load(FOLDER / f"{name}.npz", allow_pickle=False))
    couplings = np.load(FOLDER / "mace_couplings.npz", allow_pickle=False)
    state, start = {}, 0
    for entry in json.loads(str(arrays["index"])):
        if "coupling" in entry:
            state[entry["name"]] = couplings[entry["coupling"]]
            continue
        stop = start + int(np.prod(entry["shape"]))
        values = arrays["values"][start:stop].reshape(entry["shape"])
        state[entry["name"]], start = values.astype(entry["dtype"]), stop
    return arrays, state, json.loads(str(arrays["config"]))


def structure(arrays: dict[str, np.ndarray]) -> ase.Atoms:
    """Returns the structure of a golden file."""
    atoms = ase.Atoms(*(arrays[n] for n in ("numbers", "positions")))
    atoms.cell, atoms.pbc = arrays["cell"], arrays["pbc"]
    state = json.loads(str(arrays["state"])) if "state" in arrays else {}
    atoms.info.update({STATES[name]: value for name, value in state.items()})
    return atoms


def model(case: str) -> Potential:
    """Returns the model of a golden file as a potential of ours."""
    arrays, state, config = read(case)
    return convert(state, config, head=str(arrays["head"]))


def errors(case: str) -> dict[str, float]:
    """Returns the largest errors of energy (eV), forces (eV/Å) and stress (eV/Å³; periodic only).

    Double precision must be on.
    """
    arrays, potential = read(case)[0], model(case)
    atoms = structure(arrays)
    sample = potential.sample(frame_from_atoms(atoms, case))
    system = collate([sample], capacity_for([sample]), np.float64).system
    # Compiling is all the work here: without the backend's optimisation it takes half as long.
    quickly = {"xla_backend_optimization_level": 0}
    found = jax.jit(potential.apply, compiler_options=quickly)(potential.params, system)
    energy = float(found.energy[0]) + potential.atomic_energy(atoms.numbers)
    result = {
        "energy": abs(energy - float(arrays["energy"])),
        "forces": float(np.abs(found.forces - arrays["forces"]).max()),
    }
    if atoms.pbc.all():
        result["stress"] = float(np.abs(found.stress[0] - arrays["stress"]).max())
    return result


def main() -> None:
    """Prints the errors of every case as a table."""
    print("| model | max force, eV/Å | ΔE, eV | ΔF, eV/Å | Δstress, eV/Å³ |\n|---|---|---|---|---|")
    for case in CASES:
        size, error = np.abs(read(case)[0]["forces"]).max(), errors(case)
        stress = f"{error['stress']:.1e}" if "stress" in error else "-"
        print(f"| {case} | {size:.2f} | {error['energy']:.1e} | {error['forces']:.1e} | {stress} |")
    print("against", str(read(CASES[0])[0]["versions"]))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
