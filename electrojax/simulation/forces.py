"""Forces of a model on one structure whose atoms move, under jit: the model's own code."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import ConfigError
from electrojax.models.network import Params, PotentialNetwork, predict_system
from electrojax.models.potential import Potential
from electrojax.models.prediction import Prediction
from electrojax.simulation.neighbors import ListPlan, NeighborList, build, plan_for
from electrojax.solvers.state import ChargeGuess
from electrojax.system.neighbors import neighbor_list
from electrojax.system.slabs import open_axis
from electrojax.system.types import Frame, System
from electrojax.typing import Array, ArrayLike, replace, static, struct

WarmStart = Literal["none", "last", "extrapolate"]

REMEMBERED = {"float32": 4, "float64": 6}
"""Densities that the next one is extrapolated from, by the model's precision: each order gains a
factor in the error of a smooth path and loses one in the noise of what the solver left over."""

ROOM = 4.0
"""Å, by which a slab may become thicker in a run."""

_MOST = max(REMEMBERED.values())
_EXTRAPOLATION = tuple(
    tuple(float((-1) ** k * math.comb(n, k + 1)) for k in range(_MOST)) for n in range(1, _MOST + 1)
)


@struct
class Evaluation:
    """What one evaluation of the model says, in the precision of the integration.

    Attributes:
        forces: [N, 3] eV/Å.
        energies: eV by name, atomic energies left out.
        charges: [N] e.
        dipole: [3] e·Å about the origin of the positions.
        solver_steps: iterations of the charge solver.
        converged: whether it converged.
        multipoles: [6, N, C, M] e·Å^l, of this evaluation and those before, newest first.
        fermi_level: [6, 1] eV, likewise.
        known: how many of these there have been, at most 6.
    """

    forces: Array
    energies: dict[str, Array]
    charges: Array
    dipole: Array
    solver_steps: Array
    converged: Array
    multipoles: Array
    fermi_level: Array
    known: Array

    @property
    def energy(self) -> Array:
        """The sum of the energy terms, eV."""
        return jnp.sum(jnp.stack(list(self.energies.values())))


@struct
class MovingSystem:
    """A structure whose atoms move while elements, cell, charge and field stay.

    Two of them with equal shapes share their compiled programs.

    Attributes:
        system: the structure as the model gets it; positions and edges are replaced.
        network: the model's Flax module.
        precision: the model's.
        plan: of the neighbour list, without capacities.
        thickest: Å, how thick a slab may become.
    """

    system: System
    network: PotentialNetwork = static()
    precision: str = static()
    plan: ListPlan = static()
    thickest: float = static(math.inf)

    def fits(self, positions: Array) -> Array:
        """Returns whether a slab at positions [N, 3] Å is as thin as its Coulomb sum needs."""
        if math.isinf(self.thickest):
            return jnp.asarray(True)
        normal = open_axis(self.system.cell, self.system.normal)[0][0]
        return jnp.ptp(positions @ normal.astype(positions.dtype)) <= self.thickest

    def allocate(self, positions: ArrayLike, spare: float = 1.3) -> NeighborList:
        """Returns a list with room for what these positions need and some spare (on the host).

        Args:
            positions: [N, 3] Å; their dtype is that of the list.
            spare: factor of spare room.
        """
        host = np.asarray(positions, dtype=np.float64)
        plans = [self.plan] if self.plan.pairs is None else [self.plan, self.plan.pairs]
        counts = [
            len(neighbor_list(host, np.array(plan.cell), plan.pbc, reach)[0])
            for plan in plans
            for reach in (plan.reach, plan.cutoff)
        ]
        return _build(jnp.asarray(positions), self.plan.grown(counts, spare))

    def at(self, positions: Array, neighbors: NeighborList) -> tuple[System, Array]:
        """Returns the model's input at positions [N, 3] Å, and what it needed of the capacities."""
        edges = neighbors.within_cutoff(positions)
        pairs = neighbors.pairs_within_cutoff(positions)
        system = replace(
            self.system,
            positions=neighbors.wrapped(positions).astype(self.precision),
            images=neighbors.wrap,
            origin=neighbors.origin[None].astype(self.precision),
            senders=edges.senders,
            receivers=edges.receivers,
            shifts=edges.shifts,
            edge_mask=edges.receivers < len(positions),
            pair_senders=pairs.senders,
            pair_receivers=pairs.receivers,
            pair_shifts=pairs.shifts,
            pair_mask=pairs.receivers < len(positions),
        )
        return system, neighbors.met(edges.count, pairs.count)

    def evaluate(
        self,
        params: Params,
        positions: Array,
        neighbors: NeighborList,
        guess: ChargeGuess | None = None,
    ) -> tuple[Prediction, Array]:
        """Returns the model's prediction, and what it needed of the list's capacities.

        Args:
            params: of the model.
            positions: [N, 3] Å, anywhere.
            neighbors: up to date for these positions.
            guess: a density for the charge solver to start from.
        """
        system, needed = self.at(positions, neighbors)
        return predict_system(self.network, params, system, guess), needed


_build = jax.jit(build, static_argnums=1)


def moving_system(model: Potential, frame: Frame, skin: float = 0.5) -> MovingSystem:
    """Returns a frame ready to move.

    Args:
        model: with its parameters.
        frame: elements, cell, total charge, multiplicity and field; its positions are not kept.
        skin: Å, by which the neighbour list reaches beyond the cutoff.

    Raises:
        DataError: if the model cannot evaluate the frame.
    """
    model = model.tuned_for([frame])
    coulomb = model.coulomb_plan(frame, room=ROOM)
    sample = model.sample(frame, coulomb.cell)
    arrays = {
        f.name: jnp.asarray(_cast(getattr(sample.system, f.name), model.dtype))
        for f in dataclasses.fields(System)
        if not f.metadata.get("static")
    }
    system = replace(sample.system, **arrays)
    pairs = (coulomb.pair_cutoff, coulomb.cell)
    plan = plan_for(frame.cell, frame.pbc, model.cutoff, skin, *pairs)
    thickest = model.thickest(coulomb, frame)
    return MovingSystem(system, model.network, model.precision, plan, thickest)


def guess_from(last: Evaluation | None, warm_start: WarmStart, dtype: str) -> ChargeGuess | None:
    """Returns the density that starts a step's charge solver: extrapolated, the last, or none."""
    if last is None or warm_start == "none":
        return None
    if warm_start == "last":
        p, level = last.multipoles[0], last.fermi_level[0]
    else:
        known = jnp.minimum(last.known, REMEMBERED[dtype])
        p, level = (extrapolate(x, known) for x in (last.multipoles, last.fermi_level))
    return ChargeGuess(p.astype(dtype), level.astype(dtype))


def extrapolate(past: Array, known: Array | int) -> Array:
    """Returns the next value of a quantity, on the polynomial through its values at equal steps.

    Through n values it is Σ_k (−1)^k C(n, k+1) x_{−k}: Newton's backward differences with the n-th
    taken to vanish (Abramowitz and Stegun, Handbook of Mathematical Functions, section 25.2); its
    error is of the order of the time step to the n.

    Args:
        past: [n, ...], newest first, at most six.
        known: how many of these values count, at least 1.
    """
    weights = jnp.asarray(_EXTRAPOLATION, past.dtype)[known - 1, : len(past)]
    return jnp.tensordot(weights, past, 1, precision="highest")


def evaluation_of(
    prediction: Prediction, neighbors: NeighborList, last: Evaluation | None
) -> Evaluation:
    """Returns a prediction for one structure in the precision of the integration."""
    dtype = neighbors.reference.dtype
    now = (prediction.density.multipoles, prediction.fermi_level)
    if last is None:
        multipoles, level = (jnp.stack([x] * _MOST) for x in now)
    else:
        past = (last.multipoles, last.fermi_level)
        multipoles, level = (jnp.stack([x, *xs[:-1]]) for x, xs in zip(now, past))
    known = 0 if last is None else last.known
    return Evaluation(
        forces=prediction.forces.astype(dtype),
        energies={name: value[0].astype(dtype) for name, value in prediction.energies.items()},
        charges=prediction.charges.astype(dtype),
        dipole=prediction.dipole[0].astype(dtype),
        solver_steps=prediction.report.steps[0],
        converged=prediction.report.converged[0],
        multipoles=multipoles,
        fermi_level=level,
        known=jnp.minimum(jnp.int32(known) + 1, _MOST),
    )


def in_precision(model: Potential, precision: str | None) -> Potential:
    """Returns a model that computes in another precision; None keeps its own.

    Raises:
        ConfigError: for a precision that does not exist.
    """
    if precision is None or precision == model.precision:
        return model
    if precision not in REMEMBERED:
        raise ConfigError(f'precision "{precision}" does not exist; choose float32 or float64')
    params = jax.tree.map(lambda p: np.asarray(p).astype(precision), model.params)
    return dataclasses.replace(model, precision=precision, params=params)


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(dtype) if values.dtype.kind == "f" else values
