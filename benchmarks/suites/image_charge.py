"""A Cl- above a silver cluster, beyond the reach of any message: who learns its image force?

Labels are GFN1-xTB (tblite) of Ag41, two (100) layers of 5 x 5 and 4 x 4 atoms, with Cl- at
7.5-12 Å above either face; Mulliken leaves the ion its whole charge. Energies and forces are those
of the interaction: the rigid cluster's own, of 0.6 eV/Å at its edges, are taken off. Every rule for
the charges is trained on the same frames (benchmarks/cases/image_charge). A row has its errors of
held-out frames, and what it says of Cl- above the middle of a slab of 16 x 16 and 15 x 15 atoms:
held at its potential, its induced charge pulls with k_e q²/4d², d from the image plane. The plot
goes beside the rows. Labels are kept in runs/image_charge and made again where absent.
"""

import json
import multiprocessing
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from benchmarks.suites.accuracy import trained
from electrojax.units import COULOMB

CASE = Path(__file__).resolve().parent.parent / "cases" / "image_charge" / "ag41_cl.yaml"
LABELS = Path("runs") / "image_charge"

SPACING = 2.89
"""Å, nearest neighbours of silver."""
REACH = 7.0
"""Å, two layers of 3.5 Å."""
HEIGHTS = (7.5, 12.0)
"""Å, of the ion above the nuclei of the next layer."""
TRAIN, TEST = 40, 16
SCAN = np.linspace(*HEIGHTS, 10)
WIDE = 16

METALLIC = {"kind": "scf", "energy": "functional", "initial_hardness": 10.0}
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "none": ({"kind": "none"}, False),
    "local": ({"kind": "local", "charge_control": "total"}, True),
    "local, charges not fitted": ({"kind": "local", "charge_control": "total"}, False),
    "qeq": ({"kind": "qeq"}, True),
    "scf": (METALLIC, True),
    "scf, charges not fitted": (METALLIC, False),
}
"""Solver of each row, and whether its charges are fitted to Mulliken's."""


def slab(across: int, layers: int = 2) -> np.ndarray:
    """Returns a (100) patch [N, 3] in Å, its top layer at z = 0."""
    found = []
    for layer in range(layers):
        side = across - layer % 2
        x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        flat = np.stack([x, y], axis=-1).reshape(-1, 2) - (side - 1) / 2
        found.append(np.pad(flat, ((0, 0), (0, 1)), constant_values=-layer / np.sqrt(2)))
    return SPACING * np.concatenate(found)


def with_ion(metal: np.ndarray, ion: np.ndarray) -> ase.Atoms:
    """Returns silver and a chloride ion."""
    symbols = ["Ag"] * len(metal) + ["Cl"]
    return ase.Atoms(symbols, np.append(metal, [ion], axis=0), info={"total_charge": -1})


def drawn(rng: np.random.Generator) -> ase.Atoms:
    """Returns the cluster with the ion at random above one of its faces, turned anyhow."""
    metal = slab(5)
    height = rng.uniform(*HEIGHTS)
    below = rng.random() < 0.5
    z = metal[:, 2].min() - height if below else height
    atoms = with_ion(metal, np.array([*rng.uniform(-3, 3, 2), z]))
    atoms.positions @= Rotation.random(random_state=int(rng.integers(2**31))).as_matrix().T
    return atoms


def label(atoms: ase.Atoms) -> ase.Atoms:
    """Returns the atoms with GFN1-xTB's energy, forces and charges."""
    from electrojax.data.making.calculators import label_with_tblite

    return label_with_tblite(atoms, accuracy=0.1)


def labelled(name: str, frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """Returns the frames with labels, those of an earlier run where there are any."""
    path = LABELS / f"{name}.xyz"
    if not path.exists():
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers' own: one per core is enough
        with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
            done = pool.map(label, frames, chunksize=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        ase.io.write(part, done, format="extxyz")
        part.replace(path)
    return ase.io.read(path, ":")


def interaction(atoms: ase.Atoms, cluster: ase.Atoms, ion: ase.Atoms) -> ase.Atoms:
    """Returns the frame with energy and forces less those of the cluster and the ion alone.

    Raises:
        RuntimeError: if the ion is near the metal or has not kept its charge.
    """
    nearest = atoms.get_distances(-1, range(len(atoms) - 1)).min()
    lost = abs(atoms.arrays["REF_charges"][-1] + 1)
    if nearest < REACH or lost > 1e-3:
        raise RuntimeError(f"nearest atom at {nearest:.2f} Å, charge lost {lost:.1e} e")
    metal = atoms.positions[:-1]
    turn, _ = Rotation.align_vectors(
        metal - metal.mean(axis=0), cluster.positions - cluster.positions.mean(axis=0)
    )
    found = atoms.copy()
    found.arrays["REF_forces"][:-1] -= turn.apply(cluster.arrays["REF_forces"])
    found.info["REF_energy"] -= cluster.info["REF_energy"] + ion.info["REF_energy"]
    return found


def labels() -> dict[str, list[ase.Atoms]]:
    """Returns the frames of training, test and scan over the middle of the cluster."""
    rng = np.random.default_rng(1)
    drawings = {
        "train": [drawn(rng) for _ in range(TRAIN)],
        "test": [drawn(rng) for _ in range(TEST)],
        "scan": [with_ion(slab(5), np.array([0.0, 0.0, h])) for h in SCAN],
    }
    parts = [ase.Atoms(["Ag"] * len(slab(5)), slab(5)), ase.Atoms("Cl", info={"total_charge": -1})]
    cluster, ion = labelled("parts", parts)
    return {
        name: [interaction(a, cluster, ion) for a in labelled(name, frames)]
        for name, frames in drawings.items()
    }


def configured(solver: dict[str, Any], charges: bool, folder: Path) -> Path:
    """Writes the training file of a row beside the data and returns it."""
    plain = yaml.safe_load(CASE.read_text())
    plain["include"] = [
        f"solver/{solver['kind']}" if part.startswith("solver/") else part
        for part in plain["include"]
    ]
    plain["model"]["solver"] = solver
    plain["run"] |= {"name": "run", "dir": str(folder)}
    if not charges:
        del plain["train"]["loss"]["charges"]
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def relative_error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Returns the RMS error over the RMS of the reference."""
    difference = np.concatenate(found) - np.concatenate(wanted)
    return float(np.sqrt(np.mean(difference**2) / np.mean(np.concatenate(wanted) ** 2)))


def judged(model: Any, test: list[ase.Atoms], scan: list[ase.Atoms]) -> dict:
    """Returns errors of the force on the ion, and that force above the cluster and wide slabs."""
    import electrojax as ej

    found = ej.predict(model, test)
    reference = [a.arrays["REF_forces"] for a in test]
    row = {
        "ion_force_error": relative_error(
            [p.forces[-1] for p in found], [f[-1] for f in reference]
        ),
        "ion_charge": float(np.mean([p.charges[-1] for p in found])),
        "cluster_force": [float(p.forces[-1, 2]) for p in ej.predict(model, scan)],
    }
    metal = slab(WIDE)
    bare = ej.predict(model, ase.Atoms(["Ag"] * len(metal), metal))
    row["wide_force"] = induced(model, metal, bare.multipoles, None).tolist()
    if model.config["solver"]["kind"] in ("qeq", "scf"):
        force = induced(model, metal, bare.multipoles, bare.fermi_level)
        planes = SCAN - np.sqrt(COULOMB / (4 * np.maximum(-force, 1e-4)))
        row |= {
            "wide_force_at_potential": force.tolist(),
            "image_plane": float(np.mean(planes)),
            "image_plane_spread": float(np.ptp(planes)),
        }
    return row


def induced(
    model: Any, metal: np.ndarray, multipoles: np.ndarray, level: float | None
) -> np.ndarray:
    """Returns the induced part of the force [eV/Å] on the ion above the middle, by height.

    Args:
        model: a trained potential.
        metal: [N, 3] Å.
        multipoles: [N, M], of the bare metal; their pull at −1 e is taken off.
        level: eV, at which the metal is held; neutral without one.
    """
    import electrojax as ej

    forces = []
    for height in SCAN:
        ion = np.array([0.0, 0.0, height])
        atoms = with_ion(metal, ion)
        if level is not None:
            atoms.info |= {"charge_control": "fixed_potential", "fermi_level": level}
        force = ej.predict(model, atoms).forces[-1, 2]
        forces.append(force + normal_field(ion - metal, multipoles))
    return np.array(forces)


def normal_field(away: np.ndarray, multipoles: np.ndarray) -> float:
    """Returns E_z in V/Å at [N, 3] Å away from charges, and dipoles if any, in order q, y, z, x."""
    r = np.linalg.norm(away, axis=1)
    total = np.sum(multipoles[:, 0] * away[:, 2] / r**3)
    if multipoles.shape[1] > 1:
        dipoles = multipoles[:, [3, 1, 2]]
        along = np.sum(dipoles * away, axis=1)
        total += np.sum(3 * along * away[:, 2] / r**5 - dipoles[:, 2] / r**3)
    return float(COULOMB * total)


def draw(rows: list[dict], path: Path) -> None:
    """Plots the force on the ion over its height: the cluster, and slabs at their potential."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    planes = [r["image_plane"] for r in rows if r["row"] == "scf"]
    plane = planes[0] if planes else 0.0
    law = -1e3 * COULOMB / (4 * (SCAN - plane) ** 2)
    left.plot(SCAN, 1e3 * np.array(rows[0]["cluster_force_xtb"]), "ko", label="GFN1-xTB")
    for row in rows:
        left.plot(SCAN, 1e3 * np.array(row["cluster_force"]), label=row["row"])
        if "wide_force_at_potential" in row and "not fitted" not in row["row"]:
            force = 1e3 * np.array(row["wide_force_at_potential"])
            right.plot(SCAN, force, label=f"{row['row']}, slab at its potential")
        elif row["row"] in ("none", "local"):
            right.plot(SCAN, 1e3 * np.array(row["wide_force"]), label=row["row"])
    right.plot(SCAN, law, "k--", label=f"$-k_e q^2/4d^2$ from {plane:.2f} Å above the layer")
    left.set(title="above Ag41", ylim=(-70, 3))
    right.set(title=f"above {len(slab(WIDE))} Ag (not trained): induced part", ylim=(-115, 3))
    for axes in (left, right):
        axes.set(xlabel="height above the top layer, Å", ylabel="force on Cl⁻, meV/Å")
        axes.legend(fontsize="small", loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def rows(options: Namespace) -> list[dict]:
    """Returns a row per rule for the charges, and plots their forces."""
    import electrojax as ej

    frames = labels()
    found = []
    for name, (solver, charges) in VARIANTS.items():
        if options.only and options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for split in ("train", "test"):
                ase.io.write(folder / f"{split}.xyz", frames[split], format="extxyz")
            row = {"row": name, **trained(configured(solver, charges, folder), folder / "run")}
            row |= judged(ej.load(folder / "run" / "model.ejx"), frames["test"], frames["scan"])
        row["cluster_force_xtb"] = [float(a.arrays["REF_forces"][-1, 2]) for a in frames["scan"]]
        print(json.dumps(row), flush=True)  # a cut-off run has at least shown what it found
        found.append(row)
    draw(found, options.results / "image_charge.png")
    return found
