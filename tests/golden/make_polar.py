"""Writes polar_*.npz: random PolarMACE models with energies, forces, multipoles and spin densities.

Needs torch, mace-torch 0.3.16 and graph_longrange 0.4.0 (later ones do not know the argument
force_pbc_evaluator, which this mace-torch passes); run ``python tests/golden/make_polar.py`` from
the repository's root with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1. Every model is evaluated twice: as
published, and with Coulomb sums that are exact: closed forms in place of displaced charges without
periodicity, more k-vectors with it, and potentials of slabs that vanish in vacuum. Slopes of the
exact energy are finite differences.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import ase
import numpy as np
import torch
from e3nn import o3
from filled import uniform
from graph_longrange import features as field_features
from graph_longrange.utils import FIELD_CONSTANT
from mace import data, modules, tools
from mace.modules.extensions import PolarMACE
from mace.tools import torch_geometric
from make_mace import BASE, DENSITY, DENSITY_RESIDUAL, GATED, RESIDUAL, structure
from open_coulomb import Energy, Features
from strained import strained_stress

FOLDER = Path(__file__).parent
NUMBERS = [1, 8]
POLAR = {
    **{k: v for k, v in BASE.items() if k != "kind"},
    "use_agnostic_product": True,
    "atomic_multipoles_max_l": 1,
    "atomic_multipoles_smearing_width": 1.0,
    "field_feature_max_l": 1,
    "field_feature_widths": [1.0, 2.0],
    "num_recursion_steps": 2,
    "field_si": False,
    "include_electrostatic_self_interaction": True,
    "add_local_electron_energy": True,
    "field_feature_norms": [20.0, 20.0, 0.5, 0.5],
}
OFFICIAL = {
    **POLAR,
    "interaction_cls": GATED,
    "interaction_cls_first": GATED,
    "max_ell": 3,
    "correlation": 3,
    "num_bessel": 8,
    "radial_MLP": [64, 64, 64],
    "MLP_irreps": "16x0e",
    "atomic_multipoles_smearing_width": 1.5,
    "field_feature_widths": [1.5, 3.0],
    "field_norm_factor": 1.0,
    "fixedpoint_update_config": {
        "type": "AgnosticEmbeddedOneBodyVariableUpdate",
        "potential_embedding_cls": "AgnosticChargeBiasedLinearPotentialEmbedding",
        "nonlinearity_cls": "MLPNonLinearity",
    },
    "field_readout_config": {"type": "OneBodyMLPFieldReadout"},
}
"""What the scripts of MACE-POLAR-1 M and L in ACEsuit/mace-foundations have in common.

They have 512 channels, and 128 on edges; the cutoff is 6 Å there.
"""
MEDIUM = {"hidden_irreps": "4x0e+4x1o", "edge_irreps": "2x0e+2x1o", "num_interactions": 2}
LARGE = {
    "hidden_irreps": "4x0e+4x1o+4x2e",
    "edge_irreps": "2x0e+2x1o+2x2e",
    "num_interactions": 3,
}
FIELD = [0.05, -0.02, 0.08]
"""∇v, V/Å: minus the field."""
CASES = {
    "ion-in-field": ({}, "molecule", {"charge": 1.0, "spin": 2.0, "field": FIELD}),
    "crystal": ({}, "triclinic", {"charge": 0.0, "spin": 3.0}),
    "charged-crystal": (
        {"interaction_cls": DENSITY_RESIDUAL, "interaction_cls_first": DENSITY},
        "cubic",
        {"charge": -1.0, "spin": 2.0},
    ),
    "charges-alone": (
        {
            "atomic_multipoles_max_l": 0,
            "field_feature_max_l": 0,
            "field_feature_norms": [20.0, 15.0],
            "include_electrostatic_self_interaction": False,
            "use_agnostic_product": False,
        },
        "molecule",
        {"charge": -1.0, "spin": 2.0, "field": FIELD},
    ),
    "scalar-receivers": (
        {
            "field_feature_max_l": 0,
            "field_feature_widths": [1.0, 1.5, 3.0],
            "field_feature_norms": None,
            "field_si": True,
            "num_recursion_steps": 3,
            "interaction_cls_first": RESIDUAL,
            "MLP_irreps": "7x0e",
        },
        "molecule",
        {"charge": 0.0, "spin": 1.0},
    ),
    "quadrupole-features": (
        {"hidden_irreps": "2x0e+2x1o+2x2e", "pair_repulsion": True, "correlation": 1},
        "triclinic",
        {"charge": 0.0, "spin": 1.0},
    ),
    "no-learned-energy": (
        {"add_local_electron_energy": False, "include_electrostatic_self_interaction": False},
        "triclinic",
        {"charge": 0.0, "spin": 1.0},
    ),
    "official-medium": (
        {**OFFICIAL, **MEDIUM},
        "molecule",
        {"charge": 1.0, "spin": 2.0, "field": FIELD},
    ),
    "official-medium-crystal": (
        {**OFFICIAL, **MEDIUM},
        "triclinic",
        {"charge": 0.0, "spin": 1.0},
    ),
    "official-large": (
        {**OFFICIAL, **LARGE},
        "molecule",
        {"charge": -1.0, "spin": 2.0, "field": FIELD},
    ),
    "slab": ({}, "slab", {"charge": 0.0, "spin": 1.0}),
}
OUTPUTS = {"density_coefficients": "multipoles", "spin_density": "spin_multipoles"}


def atoms_of(kind: str) -> ase.Atoms:
    """Returns five atoms of O and H; a slab has vacuum along z."""
    if kind != "slab":
        return structure(kind)
    atoms = structure("cubic")
    atoms.set_cell([[3.9, 0, 0], [0.5, 4.1, 0], [0, 0, 30.0]])
    atoms.pbc = [True, True, False]
    return atoms


def build(options: dict, factor: float) -> torch.nn.Module:
    """Returns a PolarMACE with weights that its parameters' names stand for."""
    kwargs = dict(options)
    for name in ("interaction_cls", "interaction_cls_first"):
        kwargs[name] = modules.interaction_classes[kwargs[name]]
    for name in ("hidden_irreps", "MLP_irreps", "edge_irreps"):
        if name in kwargs:
            kwargs[name] = o3.Irreps(kwargs[name])
    kwargs["gate"] = torch.nn.functional.silu
    kwargs["atomic_energies"] = np.array(kwargs["atomic_energies"])
    model = PolarMACE(num_elements=len(NUMBERS), kspace_cutoff_factor=factor, **kwargs)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale, offset = scale_of(name, tuple(parameter.shape))
            values = offset + scale * uniform(name, parameter.numel())
            parameter.copy_(torch.as_tensor(values).reshape(parameter.shape))
    return model


def scale_of(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the standard deviation and the mean of a parameter's entries."""
    if ".net." in name:  # torch's own layers: matrices, gains of layer norms, and biases
        if len(shape) == 2:
            return shape[1] ** -0.5, 0.0
        return (0.2, 1.0) if name.endswith("weight") else (0.2, 0.0)
    if name.endswith((".alpha", ".beta")):  # of a gated interaction
        return 0.1, 1.9 if name.endswith("alpha") else 0.7
    if name.endswith("bias"):
        return 0.2, 0.0
    if ".linear_2.weight" in name and name.startswith("interactions."):  # gated, too
        return 0.3, 0.0
    if "symmetric_contractions" in name:  # of many products each has less weight
        return (0.5 if shape[1] <= 8 else 0.5 / shape[1]), 0.0
    return 1.0, 0.0


def exact(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the model with closed forms in place of displaced charges."""
    energy, features = model.coulomb_energy, model.electric_potential_descriptor
    energy.realspace_energy = Energy(energy.realspace_energy)
    features.realspace_features = Features(features.realspace_features)
    return model


def vacuum_level(source_feats, node_positions, volumes, batch) -> torch.Tensor:
    """In place of slab_dipole_correction_node_fields, of one neutral slab, open along z.

    Adds the constant −(2π k_e/V) ∫ρ z² that makes the potential vanish in the vacuum on average;
    without it, potentials of a neutral slab depend on how much vacuum the cell has.
    """
    fields = published_slab(source_feats, node_positions, volumes, batch)
    z = node_positions[:, 2]
    second = source_feats[:, 0] * z**2
    if source_feats.shape[-1] > 1:
        second = second + 2 * source_feats[:, 2] * z
    level = torch.zeros_like(fields)
    level[:, 0] = -0.5 * FIELD_CONSTANT * second.sum() / volumes[0]
    return fields + level


published_slab = field_features.slab_dipole_correction_node_fields


def displaced(model: torch.nn.Module, factor: float) -> torch.nn.Module:
    """Returns the model with smaller displacements of its charges."""
    for module in (
        model.coulomb_energy.realspace_energy,
        model.electric_potential_descriptor.realspace_features,
    ):
        module.offset *= factor
        for name in "xyz":
            getattr(module, name).mul_(factor)
        if hasattr(module, "l1_factors"):
            module.l1_factors.div_(factor)
    return model


def evaluate(model: torch.nn.Module, atoms: ase.Atoms, state: dict, **options) -> dict:
    """Returns what mace-torch predicts, as arrays."""
    atoms = atoms.copy()
    atoms.info.update(state)
    keys = {"total_charge": "charge", "total_spin": "spin", "external_field": "field"}
    specification = data.KeySpecification(info_keys=keys, arrays_keys={})
    config = data.config_from_atoms(atoms, key_specification=specification)
    table = tools.AtomicNumberTable(NUMBERS)
    graph = data.AtomicData.from_config(
        config, z_table=table, cutoff=BASE["r_max"], heads=["Default"]
    )
    loader = torch_geometric.dataloader.DataLoader([graph], batch_size=1)
    out = model(next(iter(loader)).to_dict(), **options)
    found = {n: out[n].detach().numpy()[0] for n in ("energy", "electrostatic_energy", "dipole")}
    for name in ("forces", *OUTPUTS):
        if out[name] is not None:
            found[OUTPUTS.get(name, name)] = out[name].detach().numpy()
    if out["stress"] is not None:
        found["stress"] = out["stress"].detach().numpy()[0]
    return found


def index_of(model: torch.nn.Module, couplings: dict) -> tuple[np.ndarray, str]:
    """Returns the numbers of a state dict that no name stands for, and what all its entries are."""
    parameters = {name for name, _ in model.named_parameters()}
    values, index = [np.zeros(0)], []
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        entry = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        if name in parameters:
            entry["scale"], entry["offset"] = scale_of(name, array.shape)
        elif ".U_matrix_" in name:
            entry["coupling"] = name.rsplit(".", 1)[1] + "_" + "x".join(map(str, array.shape))
            assert np.array_equal(couplings.setdefault(entry["coupling"], array), array)
        else:
            values.append(array.astype(np.float64).ravel())
        index.append(entry)
    return np.concatenate(values), json.dumps(index)


def write(name: str, couplings: dict) -> None:
    """Writes the file of one case."""
    changes, kind, state = CASES[name]
    options, atoms = {**POLAR, **changes}, atoms_of(kind)
    bulk = bool(atoms.pbc.all())
    result = evaluate(build(options, 1.5), atoms, state, compute_stress=bulk)
    model = exact(build(options, 2.5 if kind == "slab" else 3.0))
    field_features.slab_dipole_correction_node_fields = vacuum_level
    better = evaluate(model, atoms, state)
    field_features.slab_dipole_correction_node_fields = published_slab
    if name == "crystal":
        better["stress"] = strained_stress(
            lambda a: evaluate(model, a, state, compute_force=False)["energy"], atoms
        )
    if name == "ion-in-field":
        steps = [displaced(build(options, 1.5), s) for s in (1.0, 0.5, 0.25, 0.125)]
        better["displaced"] = [evaluate(m, atoms, state)["energy"] for m in steps]
    values, index = index_of(build(options, 1.5), couplings)
    names = ("torch", "mace-torch", "graph_longrange", "e3nn", "numpy", "ase")
    np.savez_compressed(
        FOLDER / f"polar_{name}.npz",
        values=values,
        index=index,
        config=json.dumps({"kind": "PolarMACE", **options}),
        versions=json.dumps({n: importlib.metadata.version(n) for n in names}),
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=np.asarray(atoms.cell),
        pbc=atoms.pbc,
        state=json.dumps(state),
        **{f"published_{key}": value for key, value in result.items()},
        **{f"exact_{key}": value for key, value in better.items()},
    )
    print(name, result["energy"], better["energy"], np.abs(better["forces"]).max(), file=sys.stderr)
    print("   charges", better["multipoles"][:, 0], better["multipoles"].shape, file=sys.stderr)
    print("   spins", better["spin_multipoles"][:, 0], file=sys.stderr)


def main() -> None:
    """Writes the cases named on the command line, or all; coupling tensors are mace_couplings'."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    couplings = dict(np.load(FOLDER / "mace_couplings.npz"))
    known = len(couplings)
    for name in sys.argv[1:] or CASES:
        write(name, couplings)
    if len(couplings) > known:
        np.savez_compressed(FOLDER / "mace_couplings.npz", **couplings)


if __name__ == "__main__":
    main()
