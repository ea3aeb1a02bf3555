"""Writes mace_*.npz: random MACE models of mace-torch with their energies, forces and stresses.

Needs the extra ``torch``; run ``python tests/golden/make_mace.py`` from the repository's root with
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 (e3nn 0.4.4 reads its own constants the old way). The tests
that read the files need neither torch nor mace-torch.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import ase
import ase.build
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

FOLDER = Path(__file__).parent
NUMBERS = [1, 8]
CUTOFF = 3.2
PLAIN, RESIDUAL = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
DENSITY, DENSITY_RESIDUAL = (
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
BASE = {
    "kind": "ScaleShiftMACE",
    "r_max": CUTOFF,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "interaction_cls": RESIDUAL,
    "interaction_cls_first": PLAIN,
    "num_interactions": 2,
    "hidden_irreps": "3x0e+3x1o",
    "MLP_irreps": "5x0e",
    "atomic_energies": [-13.5, -430.25],
    "avg_num_neighbors": 1.7,
    "atomic_numbers": NUMBERS,
    "correlation": 2,
    "gate": "silu",
    "radial_MLP": [6, 6],
    "atomic_inter_scale": 5.3,
    "atomic_inter_shift": -0.21,
}
CASES = {
    "correlation1-l0": ({"correlation": 1, "hidden_irreps": "4x0e"}, "molecule"),
    "correlation2-l1": ({}, "triclinic"),
    "correlation3-l1": ({"correlation": 3}, "molecule"),
    "correlation3-l2": ({"correlation": 3, "hidden_irreps": "2x0e+2x1o+2x2e"}, "triclinic"),
    "harmonics3-l0": ({"max_ell": 3, "hidden_irreps": "4x0e"}, "cubic"),
    "residual-first": ({"interaction_cls_first": RESIDUAL}, "triclinic"),
    "residual-never": ({"interaction_cls": PLAIN}, "molecule"),
    "density-l1": (
        {"interaction_cls": DENSITY_RESIDUAL, "interaction_cls_first": DENSITY},
        "triclinic",
    ),
    "density-agnesi-zbl": (
        {
            "interaction_cls": DENSITY_RESIDUAL,
            "interaction_cls_first": DENSITY_RESIDUAL,
            "distance_transform": "Agnesi",
            "pair_repulsion": True,
            "correlation": 3,
        },
        "triclinic",
    ),
    "soft-gaussian": ({"distance_transform": "Soft", "radial_type": "gaussian"}, "molecule"),
    "agnesi-chebyshev": ({"distance_transform": "Agnesi", "radial_type": "chebyshev"}, "molecule"),
    "cutoff-on-weights": (
        {
            "apply_cutoff": False,
            "interaction_cls": DENSITY_RESIDUAL,
            "interaction_cls_first": DENSITY,
        },
        "cubic",
    ),
    "two-heads": (
        {
            "heads": ["dft", "ccsd"],
            "atomic_energies": [[-13.5, -430.25], [-13.6, -431.0]],
            "atomic_inter_scale": [5.3, 4.1],
            "atomic_inter_shift": [-0.21, 0.05],
        },
        "triclinic",
    ),
    "unscaled-one-layer": ({"kind": "MACE", "num_interactions": 1}, "molecule"),
    "agnostic-last-readout": (
        {
            "use_agnostic_product": True,
            "use_last_readout_only": True,
            "keep_last_layer_irreps": True,
            "num_interactions": 3,
        },
        "cubic",
    ),
}


def structure(kind: str) -> ase.Atoms:
    """Returns five atoms of O and H, displaced at random, none closer than 0.8 Å."""
    rng = np.random.default_rng(5)
    places = np.array(
        [[0, 0, 0], [0.95, 0.1, 0], [-0.3, 0.9, 0.1], [0.4, 0.2, 1.9], [1.2, 1.3, 1.2]]
    )
    atoms = ase.Atoms("OHHOH", places + 0.05 * rng.normal(size=(5, 3)))
    if kind == "molecule":
        return atoms
    atoms.set_cell(
        {"cubic": np.eye(3) * 3.9, "triclinic": [[3.7, 0, 0], [0.6, 3.9, 0], [-0.4, 0.5, 4.2]]}[
            kind
        ]
    )
    atoms.pbc = True
    return atoms


def build(options: dict) -> torch.nn.Module:
    """Returns the model of mace-torch that the options describe, its weights drawn at random."""
    kwargs = dict(options)
    kind = kwargs.pop("kind")
    for name in ("interaction_cls", "interaction_cls_first"):
        kwargs[name] = modules.interaction_classes[kwargs[name]]
    for name in ("hidden_irreps", "MLP_irreps"):
        kwargs[name] = o3.Irreps(kwargs[name])
    kwargs["gate"] = torch.nn.functional.silu
    kwargs["atomic_energies"] = np.array(kwargs["atomic_energies"])
    kwargs["num_elements"] = len(NUMBERS)
    if kind == "MACE":
        del kwargs["atomic_inter_scale"], kwargs["atomic_inter_shift"]
    return {"MACE": modules.MACE, "ScaleShiftMACE": modules.ScaleShiftMACE}[kind](**kwargs)


def evaluate(model: torch.nn.Module, atoms: ase.Atoms, head: str, heads: list[str]) -> dict:
    """Returns energy, forces and stress (NaN without a cell) from mace-torch."""
    table = tools.AtomicNumberTable(NUMBERS)
    config = data.config_from_atoms(atoms, head_name=head)
    graph = data.AtomicData.from_config(config, z_table=table, cutoff=CUTOFF, heads=heads)
    loader = torch_geometric.dataloader.DataLoader([graph], batch_size=1)
    batch = next(iter(loader)).to_dict()
    out = model(batch, compute_stress=bool(atoms.pbc.all()))
    stress = out["stress"]
    return {
        "energy": out["energy"].detach().numpy()[0],
        "forces": out["forces"].detach().numpy(),
        "stress": np.full((3, 3), np.nan) if stress is None else stress.detach().numpy()[0],
    }


def finite_difference(model, atoms: ase.Atoms, head: str, heads: list[str]) -> np.ndarray:
    """Returns forces by Ridders-like extrapolated central differences, error about 1e-9 eV/Å."""
    forces = np.zeros((len(atoms), 3))
    for i, axis in np.ndindex(*forces.shape):
        slopes = []
        for step in (2e-3, 1e-3):
            ends = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[i, axis] += sign * step
                ends.append(evaluate(model, moved, head, heads)["energy"])
            slopes.append((ends[0] - ends[1]) / (2 * step))
        forces[i, axis] = -(4 * slopes[1] - slopes[0]) / 3
    return forces


def flattened(state: dict, couplings: dict) -> tuple[np.ndarray, str]:
    """Returns all numbers of a state dict and, as JSON, their names, shapes and types.

    Coupling tensors are the same in every model: they go to ``couplings`` and are only named.
    """
    values, index = [], []
    for name, tensor in state.items():
        array = tensor.numpy()
        entry = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        if ".U_matrix_" in name:
            entry["coupling"] = name.rsplit(".", 1)[1] + "_" + "x".join(map(str, array.shape))
            assert np.array_equal(couplings.setdefault(entry["coupling"], array), array)
        else:
            values.append(array.astype(np.float64).ravel())
        index.append(entry)
    return np.concatenate(values), json.dumps(index)


def main() -> None:
    """Writes one file per case and one with the coupling tensors."""
    torch.set_default_dtype(torch.float64)
    names = ("torch", "mace-torch", "e3nn", "numpy", "ase")
    versions = {name: importlib.metadata.version(name) for name in names}
    couplings: dict[str, np.ndarray] = {}
    for number, (name, (changes, kind)) in enumerate(CASES.items()):
        torch.manual_seed(number)
        options = {**BASE, **changes}
        model, atoms, heads = build(options), structure(kind), options.get("heads", ["Default"])
        result = evaluate(model, atoms, heads[-1], heads)
        if options.get("radial_type") == "chebyshev":  # torch has no derivative of these
            result["forces"] = finite_difference(model, atoms, heads[-1], heads)
        values, index = flattened(model.state_dict(), couplings)
        np.savez_compressed(
            FOLDER / f"mace_{name}.npz",
            values=values,
            index=index,
            config=json.dumps(options),
            versions=json.dumps(versions),
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=np.asarray(atoms.cell),
            pbc=atoms.pbc,
            head=heads[-1],
            **result,
        )
        print(name, result["energy"], np.abs(result["forces"]).max(), file=sys.stderr)
    np.savez_compressed(FOLDER / "mace_couplings.npz", **couplings)


if __name__ == "__main__":
    main()
