"""What mace-torch itself predicts for structures, to compare an imported model with."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from electrojax.errors import DataError
from electrojax.interop.mace_checkpoint import import_package
from electrojax.system.atoms import atoms_from_frame
from electrojax.system.types import Frame

FINER = 4.0
"""How much further the reciprocal sum of a refined MACELES goes."""

KEYS = {"total_charge": "total_charge", "total_spin": "multiplicity", "external_field": "gradient"}
"""What a batch of mace-torch is given, by the name in ``atoms.info``."""


def refined(model: Any) -> Any:
    """Returns a MACELES whose reciprocal sum has converged; changes the model.

    Published, it ends at k = 2π/2 Å, where a term with σ = 1 Å still has the weight 0.007.
    """
    ewald = model.les.ewald
    ewald.dl = ewald.dl / FINER
    ewald.k_sq_max = ewald.k_sq_max * FINER**2
    return model


def charged(model: Any) -> bool:
    """Returns whether a torch module has a Coulomb energy."""
    return hasattr(model, "les") or hasattr(model, "coulomb_energy")


def without_field(frame: Frame) -> Frame:
    """Returns a structure in no external field."""
    return dataclasses.replace(frame, external_field=np.zeros(3))


def reference(model: Any, frames: Sequence[Frame], head: str = "") -> Iterator[dict[str, Any]]:
    """Yields what a torch module predicts in float64: energy, forces, and what else it gives.

    Args:
        model: the module; is turned to float64.
        frames: structures.
        head: name of the wanted head; may be empty if there is only one.

    Raises:
        DataError: for an element that the module does not have.
    """
    torch = import_package("torch", "torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = model.double().eval()
        for frame in frames:
            yield _evaluate(model, frame, head)
    finally:
        torch.set_default_dtype(before)


def _evaluate(model: Any, frame: Frame, head: str) -> dict[str, Any]:
    periodic = bool(np.all(frame.pbc))
    options = {"compute_bec": True} if hasattr(model, "les") else {}
    out = model(_batch(model, frame, head), compute_stress=periodic, **options)
    found: dict[str, Any] = {
        "energy": float(_array(out["energy"])[0]),
        "forces": _array(out["forces"]),
    }
    # Its stress of charged models lacks the Coulomb terms, whose positions it does not strain.
    if periodic and not charged(model) and out.get("stress") is not None:
        found["stress"] = _array(out["stress"])[0]
    charges = next((out[n] for n in ("charges", "latent_charges") if n in out), None)
    if charges is not None:
        found["charges"] = _array(charges)
    if hasattr(model, "les"):  # counted from their mean, as in its Born charges
        found["charges"] = found["charges"] - np.mean(found["charges"])
        if not np.any(frame.pbc):
            found["dipole"] = found["charges"] @ frame.positions
            found["born_charges"] = _array(out["BEC"])
    elif out.get("dipole") is not None and not np.any(frame.pbc):
        found["dipole"] = _array(out["dipole"])[0]
    return found


def _batch(model: Any, frame: Frame, head: str) -> Any:
    data = import_package("mace.data", "mace-torch")
    tools = import_package("mace.tools", "mace-torch")
    loaders = import_package("mace.tools.torch_geometric.dataloader", "mace-torch")
    numbers = [int(z) for z in model.atomic_numbers]
    if unknown := sorted(set(frame.numbers.tolist()) - set(numbers)):
        raise DataError(f"{frame.source}: the model has no element {unknown[0]}")
    atoms, heads = atoms_from_frame(frame), list(getattr(model, "heads", None) or ["Default"])
    atoms.info |= {"total_charge": frame.total_charge, "multiplicity": frame.multiplicity}
    atoms.info["gradient"] = -np.asarray(frame.external_field)  # of the potential
    keys = data.KeySpecification(info_keys=KEYS, arrays_keys={})
    config = data.config_from_atoms(atoms, key_specification=keys, head_name=head or heads[0])
    graph = data.AtomicData.from_config(
        config,
        z_table=tools.AtomicNumberTable(numbers),
        cutoff=float(model.r_max),
        heads=heads,
    )
    return next(iter(loaders.DataLoader([graph], batch_size=1))).to_dict()


def _array(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().numpy()
    return array
