"""Published models beside what was published of them; each test runs where the files are.

ELECTROJAX_LES_FIT names a folder with MLIPs/MACE-LES of https://github.com/ChengUCB/les_fit (its
weights are CC BY-NC), and needs torch, mace-torch and, for MACELES, les. ELECTROJAX_MACE_POLAR
names a folder with MACE-POLAR-1-S.model, -M and -L, and needs torch, mace-torch and
graph_longrange.
"""

import importlib.util
import os
from pathlib import Path

import ase
import numpy as np
import pytest

from electrojax.interop import mace_checkpoint as checkpoint
from electrojax.interop.mace_torch import convert
from electrojax.models.predict import predict
from electrojax.runs.verify_import import largest_differences
from electrojax.system.atoms import frame_from_atoms

LES_FIT, POLAR = "ELECTROJAX_LES_FIT", "ELECTROJAX_MACE_POLAR"
FILES = (
    "dipep/mace-r-4-l-0/dipep_train_stagetwo",
    "dipep/mace-r-4.5-l-0/dipep_train_stagetwo",
    "dipep/maceles-r-4-l-0/dipep_train_stagetwo",
    "dipep/maceles-r-4.5-l-0/dipep_train_stagetwo",
    "water/mace-r-4.5-nl-1-l-0/H20_stagetwo",
    "water/maceles-r-4.5-nl-0/H20_stagetwo",
    "water/maceles-r-4.5-nl-1-l-0/H20_stagetwo",
)
LIMITS = {"energy": 1e-6, "forces": 1e-5, "stress": 1e-5, "charges": 1e-6, "dipole": 1e-6,
          "born_charges": 1e-5}  # fmt: skip
"""In float64 with weights, and constants of the architecture, that the files have in float32."""

WATER = {
    "S": (-2079.864637957125, -0.02527944256184389),
    "M": (-2079.8637632777622, -0.47115078949941797),
    "L": (-2079.8646699254614, -0.5236091496146468),
}
"""eV, energy of a water molecule and the part of it without charges: tests/test_polar_models.py of
mace-torch 0.3.16, float64."""

DISPLACED = 2e-2
"""eV, what dipoles made of displaced charges change there at most; ours are exact."""


def _folder(variable: str, *packages: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name the folder with the files")
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return Path(os.environ[variable])


def _acetamide() -> ase.Atoms:
    from ase.build import molecule

    return molecule("CH3CONH2")


def _water_box() -> ase.Atoms:
    """Eight molecules on a lattice, turned and moved at random."""
    rng, atoms = np.random.default_rng(2), ase.Atoms()
    for place in np.ndindex(2, 2, 2):
        one = ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        one.rotate(360 * rng.random(), rng.normal(size=3))
        one.translate(3.1 * np.array(place) + 0.1 * rng.normal(size=3))
        atoms += one
    atoms.set_cell(6.2 * np.eye(3))
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize("file", FILES)
def test_public_mace_and_maceles_are_those_of_torch(file, x64):
    needed = ("torch", "mace", *(("les",) if "maceles" in file else ()))
    path = _folder(LES_FIT, *needed) / f"{file}.model"
    module = checkpoint.open_model(path, trust=True)
    state = checkpoint.state_arrays(module)
    potential = convert(state, checkpoint.configuration(module))
    atoms = _water_box() if file.startswith("water") else _acetamide()
    frames = [frame_from_atoms(atoms, file)]
    lines: list[str] = []
    found = largest_differences(potential, module, frames, "", lines.append)
    assert {"energy", "forces"} <= set(found)
    assert ("charges" in found) == ("maceles" in file)
    assert ("born_charges" in found) == ("dipep/maceles" in file)
    assert len(lines) == ("water/maceles" in file)
    assert {name: value for name, value in found.items() if value > LIMITS[name]} == {}


@pytest.mark.parametrize("size", WATER)
def test_published_polar_models_give_the_printed_energy_of_water(size, x64):
    folder = _folder(POLAR, "torch", "mace", "graph_longrange")
    module = checkpoint.open_model(folder / f"MACE-POLAR-1-{size}.model", trust=True).double()
    potential = convert(checkpoint.state_arrays(module), checkpoint.configuration(module))
    atoms = ase.Atoms("OHH", [[0, 0, 0], [0.9572, 0, 0], [-0.239, 0.927, 0]])
    found = predict(potential, atoms)
    total, local = WATER[size]
    assert abs(found.energies["short_range"] - local) < 1e-6
    assert abs(found.energy - total) < DISPLACED
