"""Writes les_*.npz: random MACELES models with energies, forces, latent and Born charges.

Needs torch, mace-torch 0.3.16 and les 0.1.0 (https://github.com/ChengUCB/les); run
``python tests/golden/make_les.py`` from the repository's root with
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1. The reciprocal sums of crystals are refined until they have
converged; what the sums give as they are is in the files too.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import ase
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.modules.extensions import MACELES
from mace.tools import torch_geometric
from make_mace import BASE, CUTOFF, NUMBERS, RESIDUAL, flattened, structure
from strained import strained_stress

FOLDER = Path(__file__).parent
FINER = 4.0
LES = {k: v for k, v in BASE.items() if k != "kind"}
SWITCHES = {"use_atomwise": False}
CASES = {
    "molecule": ({}, {"remove_self_interaction": False}, "molecule"),
    "one-layer": ({"num_interactions": 1}, {"sigma": 0.8}, "molecule"),
    "crystal": ({"interaction_cls_first": RESIDUAL}, {"remove_self_interaction": False}, "cubic"),
    "triclinic-heads": (
        {
            "heads": ["dft", "ccsd"],
            "atomic_energies": [[-13.5, -430.25], [-13.6, -431.0]],
            "atomic_inter_scale": [5.3, 4.1],
            "atomic_inter_shift": [-0.21, 0.05],
        },
        {"sigma": 1.3},
        "triclinic",
    ),
}


def build(options: dict, les: dict) -> torch.nn.Module:
    """Returns a MACELES with random weights."""
    kwargs = dict(options)
    for name in ("interaction_cls", "interaction_cls_first"):
        kwargs[name] = modules.interaction_classes[kwargs[name]]
    for name in ("hidden_irreps", "MLP_irreps"):
        kwargs[name] = o3.Irreps(kwargs[name])
    kwargs["gate"] = torch.nn.functional.silu
    kwargs["atomic_energies"] = np.array(kwargs["atomic_energies"])
    return MACELES(num_elements=len(NUMBERS), les_arguments={**SWITCHES, **les}, **kwargs)


def refined(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the model with a converged reciprocal sum."""
    ewald = model.les.ewald
    ewald.dl, ewald.k_sq_max = ewald.dl / FINER, ewald.k_sq_max * FINER**2
    return model


def evaluate(model: torch.nn.Module, atoms: ase.Atoms, heads: list[str]) -> dict:
    """Returns what the model predicts with its last head, as arrays."""
    table = tools.AtomicNumberTable(NUMBERS)
    config = data.config_from_atoms(atoms, head_name=heads[-1])
    graph = data.AtomicData.from_config(config, z_table=table, cutoff=CUTOFF, heads=heads)
    batch = next(iter(torch_geometric.dataloader.DataLoader([graph], batch_size=1))).to_dict()
    out = model(batch, compute_stress=bool(atoms.pbc.all()), compute_bec=True)
    found = {n: out[n].detach().numpy() for n in ("forces", "latent_charges", "BEC")}
    found["energy"] = out["energy"].detach().numpy()[0]
    if atoms.pbc.all():
        found["stress"] = out["stress"].detach().numpy()[0]
    return found


def options_of(model: torch.nn.Module) -> dict:
    """Returns the options of les that an import reads."""
    les = model.les
    return {
        **{n: bool(v) for n, v in vars(les).items() if n.startswith("use_")},
        **{n: getattr(les.ewald, n) for n in ("sigma", "norm_factor", "remove_self_interaction")},
        **{n: getattr(les.bec, n) for n in ("remove_mean", "epsilon_factor")},
        "normalization_factor": les.bec.normalization_factor,
    }


def main() -> None:
    """Writes the cases named on the command line, or all."""
    torch.set_default_dtype(torch.float64)
    names = ("torch", "mace-torch", "les", "e3nn", "numpy", "ase")
    versions = {name: importlib.metadata.version(name) for name in names}
    couplings = dict(np.load(FOLDER / "mace_couplings.npz"))
    for number, (name, (changes, les, kind)) in enumerate(CASES.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        torch.manual_seed(100 + number)
        options, atoms = {**LES, **changes}, structure(kind)
        model, heads = build(options, les), options.get("heads", ["Default"])
        stored = evaluate(model, atoms, heads)
        result = evaluate(refined(model), atoms, heads)
        if atoms.pbc.all():
            result["published_stress"] = result["stress"]
            result["stress"] = strained_stress(
                lambda a, model=model, heads=heads: evaluate(model, a, heads)["energy"], atoms
            )
        values, index = flattened(model.state_dict(), couplings)
        np.savez_compressed(
            FOLDER / f"les_{name}.npz",
            values=values,
            index=index,
            config=json.dumps({"kind": "MACELES", **options, "les": options_of(model)}),
            versions=json.dumps(versions),
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=np.asarray(atoms.cell),
            pbc=atoms.pbc,
            head=heads[-1],
            stored_energy=stored["energy"],
            **result,
        )
        print(name, stored["energy"], result["energy"], result["latent_charges"], file=sys.stderr)


if __name__ == "__main__":
    main()
