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
GATED = "RealAgnosticResidualNonLinearInteractionBlock"
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


def categorical(width: int, classes: int, offset: int) -> dict:
    """Returns how one embedding is tabulated."""
    options = {"type": "categorical", "per": "graph", "in_dim": 1}
    return {**options, "emb_dim": width, "num_classes": classes, "offset": offset}


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
    "edge-channels": (
        {"hidden_irreps": "4x0e+4x1o", "edge_irreps": "3x0e+2x1o", "use_edge_irreps_first": True},
        "triclinic",
    ),
    "edge-scalars-later": (
        {"hidden_irreps": "4x0e+4x1o", "edge_irreps": "2x0e", "distance_transform": "Soft"},
        "molecule",
    ),
    "gated-mh": (
        {
            "interaction_cls": GATED,
            "interaction_cls_first": GATED,
            "hidden_irreps": "4x0e+4x1o",
            "edge_irreps": "2x0e+2x1o",
            "use_edge_irreps_first": True,
            "use_agnostic_product": True,
            "apply_cutoff": False,
            "distance_transform": "Agnesi",
            "pair_repulsion": True,
            "correlation": 3,
            "heads": ["omat_pbe", "spice_wB97M"],
            "atomic_energies": [[-13.5, -430.25], [-13.6, -431.0]],
            "atomic_inter_scale": [5.3, 4.1],
            "atomic_inter_shift": [-0.21, 0.05],
        },
        "triclinic",
    ),
    "gated-step": (
        {
            "interaction_cls": GATED,
            "interaction_cls_first": GATED,
            "hidden_irreps": "3x0e+3x1o",
            "edge_irreps": "2x0e+2x1o",
            "radial_MLP": [6],
        },
        "molecule",
    ),
    "gated-omol": (
        {
            "interaction_cls": GATED,
            "interaction_cls_first": GATED,
            "num_interactions": 3,
            "hidden_irreps": "4x0e+4x1o+4x2e",
            "edge_irreps": "2x0e+2x1o+2x2e",
            "apply_cutoff": False,
            "embedding_specs": {
                "total_spin": categorical(5, 6, 0),
                "total_charge": categorical(5, 9, 4),
            },
            "state": {"total_spin": 2, "total_charge": -1},
        },
        "molecule",
    ),
    "embedding-energy": (
        {
            "embedding_specs": {
                "total_charge": {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": 4},
                "total_spin": {
                    **categorical(3, 4, 0),
                    "type": "continuous",
                    "use_bias": False,
                },
            },
            "use_embedding_readout": True,
            "state": {"total_spin": 3, "total_charge": 1},
        },
        "triclinic",
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
    for name in ("hidden_irreps", "MLP_irreps", "edge_irreps"):
        if name in kwargs:
            kwargs[name] = o3.Irreps(kwargs[name])
    kwargs["gate"] = torch.nn.functional.silu
    kwargs["atomic_energies"] = np.array(kwargs["atomic_energies"])
    kwargs["num_elements"] = len(NUMBERS)
    if kind == "MACE":
        del kwargs["atomic_inter_scale"], kwargs["atomic_inter_shift"]
    return {"MACE": modules.MACE, "ScaleShiftMACE": modules.ScaleShiftMACE}[kind](**kwargs)


def enlivened(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the model with random numbers for what starts as zero, one or nearly so."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("source_embedding.weight", "target_embedding.weight")):
                parameter.normal_()
            elif name.endswith(".beta"):
                parameter.fill_(0.7)
            elif name.endswith(".alpha"):
                parameter.fill_(1.9)
            elif ".net." in name and parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def evaluate(model: torch.nn.Module, atoms: ase.Atoms, head: str, heads: list[str]) -> dict:
    """Returns energy, forces and stress (NaN without a cell) from mace-torch."""
    table = tools.AtomicNumberTable(NUMBERS)
    names = {name: name for name in ("total_spin", "total_charge")}
    keys = data.KeySpecification(info_keys=names, arrays_keys={})
    config = data.config_from_atoms(atoms, key_specification=keys, head_name=head)
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
    """Writes a file per case, of all or of those named, and one with the coupling tensors."""
    torch.set_default_dtype(torch.float64)
    names = ("torch", "mace-torch", "e3nn", "numpy", "ase")
    versions = {name: importlib.metadata.version(name) for name in names}
    couplings: dict[str, np.ndarray] = {}
    wanted = sys.argv[1:] or list(CASES)
    if sys.argv[1:]:
        couplings.update(np.load(FOLDER / "mace_couplings.npz"))
    for number, (name, (changes, kind)) in enumerate(CASES.items()):
        if name not in wanted:
            continue
        torch.manual_seed(number)
        options = {**BASE, **changes}
        atoms, heads = structure(kind), options.get("heads", ["Default"])
        atoms.info.update(options.pop("state", {}))
        model = enlivened(build(options))
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
            state=json.dumps(atoms.info),
            **result,
        )
        print(name, result["energy"], np.abs(result["forces"]).max(), file=sys.stderr)
    np.savez_compressed(FOLDER / "mace_couplings.npz", **couplings)


if __name__ == "__main__":
    main()
