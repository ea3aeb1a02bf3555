"""Predictions for ASE structures: NumPy arrays in physical units."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from electrojax.electrostatics.coulomb import method_name
from electrojax.errors import DataError
from electrojax.models.conduction import check_defined, with_blanks
from electrojax.models.inputs import refuse_misnamed
from electrojax.models.network import Params, PotentialNetwork, predict_system
from electrojax.models.potential import Potential
from electrojax.models.prediction import Prediction
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import Capacity, Sample, capacity_for, collate
from electrojax.system.quantities import LABELS, QUANTITIES
from electrojax.system.types import Frame, System
from electrojax.typing import Array

BATCH_EDGES = 50_000
"""Edges and Coulomb pairs per batch that ``predict`` aims at; larger structures go alone."""


@dataclasses.dataclass(frozen=True)
class StructurePrediction:
    """What a model predicts for one structure.

    Attributes:
        energy: eV, atomic energies included, in float64.
        energies: eV by name; the terms add up to ``energy``.
        forces: [n, 3] eV/Å.
        stress: [3, 3] eV/Å³, positive = tension; NaN for open boundaries.
        multipoles: [n, M] e·Å^l in the order [q, y, z, x, ...].
        charges: [n] e.
        dipole: [3] e·Å about the origin; NaN unless the boundary is open.
        quadrupole: [3, 3] e·Å², the traceless part of the second moments about the origin (2/3 of
            Buckingham's Θ); NaN unless the boundary is open.
        polarization: [3] e·Å of the cell, up to multiples of e times its periodic vectors; NaN
            where it is undefined (:mod:`electrojax.models.conduction`).
        energy_polarization: [3] e·Å, −∂E/∂(external field): the polarization again, unless the
            model's solver is not ``consistent``.
        fermi_level: eV, μ = −∂E/∂Q; zero for kinds that define none. The potential is zero at
            infinity (open), on the average over the cell (periodic), in the vacuum (slab).
        chemical_potential: [n] eV, −∂E/∂q of each atom in the same gauge: one number over atoms
            that exchange charge freely; zero for kinds that define none.
        spin_multipoles: [n, M] electrons·Å^l, n_α − n_β; zero for kinds without spin.
        converged: whether the charge solver converged.
        solver_steps: its number of iterations.
        responses: by name, those that were asked for: born_charges [n, 3, 3] e,
            Z*[i, a, b] = ∂P_a/∂r_ib, and polarizability [3, 3] e·Å²/V; of a solver that is not
            ``consistent`` also energy_born_charges and energy_polarizability, derivatives of
            ``energy_polarization``; potential [n] V of the charges at the nuclei.
    """

    energy: float
    energies: Mapping[str, float]
    forces: np.ndarray
    stress: np.ndarray
    multipoles: np.ndarray
    charges: np.ndarray
    dipole: np.ndarray
    quadrupole: np.ndarray
    polarization: np.ndarray
    energy_polarization: np.ndarray
    fermi_level: float
    chemical_potential: np.ndarray
    spin_multipoles: np.ndarray
    converged: bool
    solver_steps: int
    responses: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Returns the prediction of a quantity by its name."""
        return self.responses[name] if name in self.responses else getattr(self, name)


def predict(model: Potential, structures: Any, responses: Sequence[str] = ()) -> Any:
    """Returns the predictions of a model for one structure or for a list of them.

    Args:
        model: from :func:`electrojax.load`.
        structures: one ``ase.Atoms``, or a sequence of them. ``atoms.info`` may hold
            ``total_charge``, ``multiplicity`` and ``external_field`` (V/Å); without them a
            structure is neutral, a singlet and in no field. (The calculator and MD ask for them.)
            A charge under another name, such as ``charge``, is refused if the model reads charges.
        responses: what to predict beside: ``born_charges``, ``polarizability``, ``potential``.

    Returns:
        A :class:`StructurePrediction`, or a list of them in the order of the input.

    Raises:
        DataError: for what is no ``ase.Atoms``, an unknown element, a boundary that the model
            cannot treat, positions or a cell that are not finite, or atoms on top of each other;
            for responses of a solver that feels no field, or of a conductor without ends.
        ConfigError: for a response that does not exist.
    """
    model = model.with_responses(responses) if responses else model
    single = hasattr(structures, "positions")
    listed = [structures] if single else _listed(structures)
    frames = [frame_from_atoms(a, f"structure {i}") for i, a in enumerate(listed)]
    for frame, atoms in zip(frames, listed):
        refuse_misnamed(model, frame, atoms)
    predictions = predict_frames(model, frames)
    return predictions[0] if single else predictions


def _listed(structures: Any) -> list[Any]:
    if not isinstance(structures, Iterable):
        raise DataError(
            f"structures: needed ase.Atoms or a sequence of them, got {type(structures).__name__}"
        )
    return list(structures)


def born_charges(potential: Potential, system: System) -> Array:
    """Returns the Born effective charges of every atom, Z*[i, a, b] = ∂P_a/∂r_ib = ∂F_ib/∂E_a.

    They obey the acoustic sum rule Σ_i Z*_i = Q·1 with the total charge Q, and wrapping an atom
    leaves them as they are. For an open boundary they are the atomic polar tensors.

    Args:
        potential: with its parameters; its solver must feel a field with this boundary.
        system: a batch.

    Returns:
        [N, 3, 3] e; zero on padding.
    """
    return (
        potential.with_responses(["born_charges"])
        .apply(potential.params, system)
        .responses["born_charges"]
    )


def polarizability(potential: Potential, system: System) -> Array:
    """Returns the electronic polarisability of every structure, α_ab = ∂P_a/∂E_b, atoms fixed.

    It holds the density's response only: zero for solvers whose charges do not see the field
    (local, split), as their energy is linear in it.

    Args:
        potential: with its parameters; its solver must feel a field with this boundary.
        system: a batch.

    Returns:
        [G, 3, 3] e·Å²/V.
    """
    return (
        potential.with_responses(["polarizability"])
        .apply(potential.params, system)
        .responses["polarizability"]
    )


def predict_frames(model: Potential, frames: Sequence[Frame]) -> list[StructurePrediction]:
    """Returns the predictions for frames, batched by boundary and size, in the order given."""
    tuned = [model.tuned_for([frame]) for frame in frames]
    samples = [one.sample(frame) for one, frame in zip(tuned, frames)]
    for sample in samples:
        kind = model.config["solver"]["kind"]
        check_defined(model.responses, model.network.solver, kind, sample)
    return predict_samples(model, samples, [one.network for one in tuned])


def predict_samples(
    model: Potential, samples: Sequence[Sample], networks: Sequence[PotentialNetwork]
) -> list[StructurePrediction]:
    """Returns the predictions for samples, in the order given.

    Args:
        model: with its parameters.
        samples: structures prepared for it.
        networks: of each sample, the model's network with the Coulomb engines to use.
    """
    found: dict[int, StructurePrediction] = {}
    with jax.enable_x64(model.precision == "float64"):
        for group in _batches(samples, networks):
            evaluate = compile_prediction(networks[group[0]], model.responses)
            chosen = [samples[i] for i in group]
            batch = collate(chosen, _rounded(chosen), model.dtype)
            prediction = jax.device_get(evaluate(model.params, batch.system))
            for index, part in zip(
                group, split_prediction(prediction, [s.system.n_nodes for s in chosen])
            ):
                found[index] = _finish(model, samples[index], part)
    return [found[i] for i in range(len(samples))]


@functools.lru_cache(maxsize=16)
def compile_prediction(
    network: PotentialNetwork, responses: tuple[str, ...] = ()
) -> Callable[[Params, System], Prediction]:
    """Returns the jitted prediction function of a network (one program per batch shape)."""
    return jax.jit(functools.partial(predict_system, network, responses=responses))


def split_prediction(prediction: Prediction, sizes: Sequence[int]) -> Iterator[StructurePrediction]:
    """Yields the parts of a batch's prediction that belong to each of its real structures.

    Energies are relative to the atomic energies, as the batch's are, and nothing is blanked.

    Args:
        prediction: of the batch, already on the host.
        sizes: atoms of each structure, in order; the atoms of a structure are contiguous.
    """
    multipoles = np.asarray(prediction.multipoles)
    further = {n: v for n, v in prediction.diagnostics.items() if n in LABELS}
    stops = np.cumsum(sizes)
    for graph, (size, stop) in enumerate(zip(sizes, stops)):
        atoms = slice(int(stop) - int(size), int(stop))
        yield StructurePrediction(
            energy=float(prediction.energy[graph]),
            energies={k: float(v[graph]) for k, v in prediction.energies.items()},
            forces=np.asarray(prediction.forces[atoms]),
            stress=np.asarray(prediction.stress[graph]),
            multipoles=multipoles[atoms],
            charges=multipoles[atoms, 0],
            dipole=np.asarray(prediction.dipole[graph]),
            quadrupole=np.asarray(prediction.quadrupole[graph]),
            polarization=np.asarray(prediction.polarization[graph]),
            energy_polarization=np.asarray(prediction.energy_polarization[graph]),
            fermi_level=float(prediction.fermi_level[graph]),
            chemical_potential=np.asarray(prediction.chemical_potential[atoms]),
            spin_multipoles=np.asarray(prediction.spin_multipoles[atoms]),
            converged=bool(prediction.report.converged[graph]),
            solver_steps=int(prediction.report.steps[graph]),
            responses={
                name: np.asarray(values[atoms if QUANTITIES[name].axis == "nodes" else graph])
                for name, values in {**prediction.responses, **further}.items()
            },
        )


def _finish(model: Potential, sample: Sample, part: StructurePrediction) -> StructurePrediction:
    """Adds the atomic energies and blanks what a boundary does not define."""
    atomic = model.atomic_energy(np.asarray(sample.system.numbers))
    blank: dict[str, Any] = {
        name: np.full(QUANTITIES[name].shape, np.nan)
        for name in ("stress", "dipole", "quadrupole")
        if sample.system.boundary not in QUANTITIES[name].boundaries
    }
    done = dataclasses.replace(
        part,
        energy=part.energy + atomic,
        energies={"atomic": atomic, **part.energies},
        **blank,
    )
    return blank_undefined(model, sample, done)


def blank_undefined(
    model: Potential, sample: Sample, part: StructurePrediction
) -> StructurePrediction:
    """Returns a prediction with NaN where a polarisation or its slope is undefined."""
    names = ("polarization", "energy_polarization")
    values = {name: getattr(part, name) for name in names} | dict(part.responses)
    blank: dict[str, Any] = with_blanks(model.network.solver, sample, values)
    own = {name: blank.pop(name) for name in names if name in blank}
    return dataclasses.replace(part, responses={**part.responses, **blank}, **own)


def _batches(samples: Sequence[Sample], networks: Sequence[PotentialNetwork]) -> list[list[int]]:
    """Groups sample indices by boundary, engine and size; each batch stays near BATCH_EDGES."""

    def key(i: int) -> tuple[Any, ...]:
        system = samples[i].system
        engine = networks[i].engine(system.boundary)
        # A mesh follows from the k-box, and batch-mates must not change it.
        box = system.k_box if "mesh" in method_name(engine) else ()
        return (system.boundary, system.normal, repr(engine), box, system.n_nodes)

    groups: list[list[int]] = []
    edges = 0
    for i in sorted(range(len(samples)), key=key):
        n = samples[i].system.n_edges + samples[i].system.n_pairs
        same = groups and key(groups[-1][0])[:-1] == key(i)[:-1]
        if not same or edges + n > BATCH_EDGES:
            groups.append([])
            edges = 0
        groups[-1].append(i)
        edges += n
    return groups


def _rounded(samples: Sequence[Sample]) -> Capacity:
    """Returns a capacity rounded up in steps of about an eighth, so that few shapes compile."""
    exact = capacity_for(samples)
    return dataclasses.replace(
        capacity_for(samples, round_to=1),
        nodes=-(-exact.nodes // 16) * 16,
        edges=max(1, _stepped(exact.edges)),
        pairs=_stepped(exact.pairs),
        graph_nodes=-(-exact.graph_nodes // 8) * 8,
    )


def _stepped(size: int) -> int:
    step = 2 ** max(0, size.bit_length() - 4)
    return -(-size // step) * step
