"""What a set of structures holds, and which of them deserve a second look."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.data.dataset import Census, census
from electrojax.data.duplicates import duplicate_groups
from electrojax.data.plausibility import PLAUSIBILITY
from electrojax.system.neighbors import neighbor_list
from electrojax.system.types import Frame

ISOLATED = 6.0
"""Å; an atom with no neighbour within is isolated."""

LARGEST_FORCE, LARGEST_RATIO = 30.0, 20.0
"""eV/Å, and multiples of the RMS force of the set; a larger force on an atom is huge."""

LOWEST_DENSITY = 100.0
"""Å³ per atom; a periodic cell with more is of low density."""

OVERLAP = 0.6
"""Share of the sum of two covalent radii; closer atoms overlap."""

NET_FORCE = 0.1
"""eV/Å; a larger sum of forces, less the charge times the external field, is a net force."""

SHOWN = 8
"""Frames of one kind that the text names."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something unusual about a structure.

    Attributes:
        kind: a key of ``KINDS`` or ``PLAUSIBILITY``.
        frame: its number in the file.
        detail: the atoms and numbers concerned.
    """

    kind: str
    frame: int
    detail: str


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Structures that are the same.

    Attributes:
        frames: their numbers in the file.
        energy_spread: largest difference of their energy labels, eV; None without two labels.
    """

    frames: list[int]
    energy_spread: float | None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a set holds and what is unusual about it.

    Attributes:
        census: counts.
        duplicates: groups of equal structures.
        findings: by frame.
    """

    census: Census
    duplicates: list[Duplicates]
    findings: list[Finding]

    def __str__(self) -> str:
        """Returns the inspection as text, one line per property."""
        lines = [str(self.census), f"{'duplicates':<16}{_duplicates_text(self.duplicates)}"]
        for kind in (*KINDS, *PLAUSIBILITY):
            found = [f for f in self.findings if f.kind == kind]
            lines.append(f"{kind:<16}{_findings_text(found)}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Returns the inspection as JSON-able data."""
        counts = dataclasses.asdict(self.census)
        counts = {k: _texts(v) if isinstance(v, Mapping) else v for k, v in counts.items()}
        return {
            "census": counts,
            "duplicates": [dataclasses.asdict(d) for d in self.duplicates],
            "findings": [dataclasses.asdict(f) for f in self.findings],
        }


def inspect(frames: Sequence[Frame]) -> Inspection:
    """Returns counts, duplicates and unusual structures of a set.

    Args:
        frames: at least one.

    Raises:
        DataError: if there is no frame, or a periodic cell has no volume.
    """
    counted = census(frames)
    rms = _rms_force(frames)
    findings = [
        Finding(kind, index, detail)
        for index, frame in enumerate(frames)
        for kind, detail in _findings(frame, rms)
    ]
    groups = duplicate_groups(frames)
    return Inspection(counted, [_with_energies(frames, group) for group in groups], findings)


def _findings(frame: Frame, rms: float) -> Iterator[tuple[str, str]]:
    """Kind and detail of everything unusual about a structure."""
    for kind, look in KINDS.items():
        yield from ((kind, detail) for detail in look(frame, rms))
    for kind, judge in PLAUSIBILITY.items():
        yield from ((kind, detail) for detail in judge(frame))


def _rms_force(frames: Sequence[Frame]) -> float:
    forces = [frame.labels["forces"] for frame in frames if "forces" in frame.labels]
    if not forces:
        return np.inf
    return float(np.sqrt(np.mean(np.sum(np.concatenate(forces) ** 2, axis=1))))


def _with_energies(frames: Sequence[Frame], group: list[int]) -> Duplicates:
    energies = [float(frames[i].labels["energy"]) for i in group if "energy" in frames[i].labels]
    return Duplicates(group, max(energies) - min(energies) if len(energies) > 1 else None)


def _isolated(frame: Frame, rms: float) -> Iterator[str]:
    n = len(frame.numbers)
    if n == 1 and frame.boundary == "open":
        return  # an isolated atom on purpose
    _, receivers, _ = neighbor_list(frame.positions, frame.cell, frame.pbc, ISOLATED, frame.source)
    alone = np.setdiff1d(np.arange(n), receivers)
    if alone.size:
        yield f"{_atoms(alone)} without neighbour within {ISOLATED:g} Å"


def _huge_forces(frame: Frame, rms: float) -> Iterator[str]:
    if "forces" not in frame.labels:
        return
    sizes = np.linalg.norm(frame.labels["forces"], axis=1)
    atom = int(np.argmax(sizes))
    if sizes[atom] > LARGEST_FORCE or sizes[atom] > LARGEST_RATIO * rms:
        yield f"atom {atom} with {sizes[atom]:.4g} eV/Å, {sizes[atom] / rms:.3g} times the RMS"


def _low_density(frame: Frame, rms: float) -> Iterator[str]:
    if frame.boundary != "periodic":
        return
    volume = abs(np.linalg.det(frame.cell)) / len(frame.numbers)
    if volume > LOWEST_DENSITY:
        yield f"{volume:.4g} Å³ per atom; open, in a box?"


def _overlaps(frame: Frame, rms: float) -> Iterator[str]:
    from ase.data import covalent_radii

    radii = covalent_radii[frame.numbers]
    cutoff = 2 * OVERLAP * float(radii.max())
    senders, receivers, shifts = neighbor_list(
        frame.positions, frame.cell, frame.pbc, cutoff, frame.source
    )
    vectors = frame.positions[receivers] - frame.positions[senders] + shifts @ frame.cell
    distances = np.linalg.norm(vectors, axis=1)
    close = np.flatnonzero(distances < OVERLAP * (radii[senders] + radii[receivers]))
    if close.size:
        worst = close[np.argmin(distances[close])]
        pair = sorted((int(senders[worst]), int(receivers[worst])))
        yield f"atoms {pair[0]} and {pair[1]} at {distances[worst]:.4g} Å"


def _net_force(frame: Frame, rms: float) -> Iterator[str]:
    if "forces" not in frame.labels:
        return
    net = frame.labels["forces"].sum(axis=0) - frame.total_charge * frame.external_field
    size = float(np.linalg.norm(net))
    if size > NET_FORCE:
        yield f"{size:.4g} eV/Å in all"


KINDS: dict[str, Callable[[Frame, float], Iterator[str]]] = {
    "isolated atoms": _isolated,
    "huge forces": _huge_forces,
    "low density": _low_density,
    "overlaps": _overlaps,
    "net force": _net_force,
}
"""What is looked for: each yields what it finds in a structure, given the RMS force of the set."""


def _atoms(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:SHOWN])
    more = f" and {indices.size - SHOWN} more" if indices.size > SHOWN else ""
    return f"atom{'s' if indices.size > 1 else ''} {shown}{more}"


def _duplicates_text(groups: Sequence[Duplicates]) -> str:
    if not groups:
        return "none"
    listed = []
    for group in groups[:SHOWN]:
        spread = group.energy_spread
        differ = f" (energies differ by {spread:.3g} eV)" if spread and spread > 1e-3 else ""
        listed.append("frames " + " = ".join(map(str, group.frames)) + differ)
    more = f"; and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return f"{len(groups)} group{'s' if len(groups) > 1 else ''}: {'; '.join(listed)}{more}"


def _findings_text(found: Sequence[Finding]) -> str:
    if not found:
        return "none"
    first = f"(frame {found[0].frame}: {found[0].detail})"
    listed = ", ".join(str(f.frame) for f in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"frame{'s' if len(found) > 1 else ''} {listed}{more} {first}"


def _texts(counts: Mapping[Any, int]) -> dict[str, int]:
    return {name if isinstance(name, str) else f"{name:g}": n for name, n in counts.items()}
