"""Blocks of time steps inside one compiled loop that stops before anything wrong is kept."""

import dataclasses
import enum
import functools

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import CapacityError
from electrojax.models.network import Params
from electrojax.models.potential import Potential
from electrojax.simulation.forces import (
    Evaluation,
    MovingSystem,
    WarmStart,
    evaluation_of,
    guess_from,
)
from electrojax.simulation.integrators import Integrator, Motion, kinetic_energy
from electrojax.simulation.neighbors import ListPlan, NeighborList, build
from electrojax.typing import Array, replace, struct

MAX_GROWTHS = 40
"""Times that a list may grow within one block before something must be wrong."""


class Status(enum.IntEnum):
    """Why a block ended: the step that was refused, if one was."""

    GOOD = 0
    OVERFLOW = 1
    NON_FINITE = 2
    HOT = 3
    UNCONVERGED = 4
    THICK = 5


@struct
class State:
    """Everything that the next step depends on.

    Attributes:
        motion: positions, velocities and thermostat.
        evaluation: of the model at these positions.
        neighbors: the list in use.
        unconverged: consecutive steps whose charge solver did not converge.
    """

    motion: Motion
    evaluation: Evaluation
    neighbors: NeighborList
    unconverged: Array


@struct
class Outcome:
    """What a block has to tell beside the state it ends with.

    Attributes:
        status: of the step that was refused, or GOOD.
        needed: of each of the list's capacities by that step.
        temperature: K, of that step.
    """

    status: Array
    needed: Array
    temperature: Array


@struct
class Limits:
    """Where a trajectory stops being worth continuing.

    Attributes:
        temperature: K.
        unconverged: consecutive steps without convergence that are tolerated.
        freedom: degrees of freedom that carry heat.
        boltzmann: eV/K.
    """

    temperature: Array
    unconverged: Array
    freedom: Array
    boltzmann: Array


@dataclasses.dataclass(frozen=True)
class Engine:
    """Takes steps of one structure with one integrator.

    Attributes:
        model: with its parameters.
        moving: the structure.
        integrator: the equations of motion.
        limits: when to stop.
        warm_start: how the solver's last densities start its next iteration.
        spare: factor of spare room in the neighbour list.
    """

    model: Potential
    moving: MovingSystem
    integrator: Integrator
    limits: Limits
    warm_start: WarmStart = "extrapolate"
    spare: float = 1.3

    def start(self, motion: Motion, capacity: tuple[int, ...] | None = None) -> State:
        """Returns the state at the first positions, evaluated.

        Args:
            motion: where the atoms are and go.
            capacity: of the neighbour list to begin with, instead of what the structure needs.
        """
        positions = np.asarray(motion.positions)
        neighbors = self.moving.allocate(positions, self.spare)
        first = _evaluate(self.moving, self._params, motion.positions, neighbors)
        state = State(motion, first, neighbors, jnp.int32(0))
        if capacity is None:
            return state
        plan = neighbors.plan.sized(capacity)
        return replace(state, neighbors=_forced(neighbors, plan))

    def abstract(self, motion: Motion, capacity: tuple[int, ...]) -> State:
        """Returns the shapes and dtypes of a state with given capacities; computes nothing."""
        plan = self.moving.plan.sized(capacity)

        def make(params: Params, motion: Motion) -> State:
            neighbors = build(motion.positions, plan)
            evaluation = _evaluate(self.moving, params, motion.positions, neighbors)
            return State(motion, evaluation, neighbors, jnp.int32(0))

        return jax.eval_shape(make, self._params, motion)

    def advance(self, state: State, steps: int) -> tuple[State, Status, float]:
        """Returns the state after some steps, or after the last good one before that.

        A step whose neighbours do not fit is not kept: the arrays grow and it is taken again.

        Args:
            state: where to start from; it stays valid.
            steps: how many to take.

        Returns:
            The state, why it ended, and the temperature in K of the step that was refused.

        Raises:
            CapacityError: if growing the arrays does not help.
        """
        last = int(state.motion.step) + steps
        for _ in range(MAX_GROWTHS):
            state, outcome = _block(
                self.moving,
                self.integrator,
                self.limits,
                self._params,
                state,
                last,
                self.warm_start,
            )
            status = Status(int(outcome.status))
            if status is not Status.OVERFLOW:
                return state, status, float(outcome.temperature)
            plan = state.neighbors.plan.grown(np.asarray(outcome.needed), self.spare)
            state = replace(state, neighbors=state.neighbors.resize(plan))
        raise CapacityError(
            f"step {int(state.motion.step) + 1} needs ever more neighbours "
            f"({np.asarray(outcome.needed).tolist()}); the structure has collapsed"
        )

    @functools.cached_property
    def _params(self) -> Params:
        return jax.device_put(self.model.params)


def _forced(neighbors: NeighborList, plan: ListPlan) -> NeighborList:
    """A list of another, possibly too small capacity, which its first use will rebuild."""
    never = jnp.full_like(neighbors.reference, jnp.inf)
    return replace(build(neighbors.reference, plan), reference=never)


@jax.jit
def _evaluate(
    moving: MovingSystem, params: Params, positions: Array, neighbors: NeighborList
) -> Evaluation:
    prediction, _ = moving.evaluate(params, positions, neighbors)
    return evaluation_of(prediction, neighbors, None)


@functools.partial(jax.jit, static_argnames="warm_start")
def _block(
    moving: MovingSystem,
    integrator: Integrator,
    limits: Limits,
    params: Params,
    state: State,
    last: Array | int,
    warm_start: WarmStart,
) -> tuple[State, Outcome]:
    """Steps until ``last``, or until one must be refused; the state is then that before it."""

    def going(carry: tuple[State, Outcome]) -> Array:
        state, outcome = carry
        return (state.motion.step < last) & (outcome.status == Status.GOOD)

    def step(carry: tuple[State, Outcome]) -> tuple[State, Outcome]:
        old, _ = carry
        new, needed = _step(moving, warm_start, integrator, params, old)
        outcome = _judge(moving, integrator, limits, new, needed)
        good = outcome.status == Status.GOOD
        motion, evaluation, unconverged = jax.tree.map(
            functools.partial(jnp.where, good), _without_list(new), _without_list(old)
        )
        # The list of a refused step may stay: it is checked against the positions at every use.
        return State(motion, evaluation, new.neighbors, unconverged), outcome

    nothing = Outcome(
        jnp.int32(0),
        jnp.zeros_like(state.neighbors.needed),
        jnp.zeros((), limits.temperature.dtype),
    )
    return jax.lax.while_loop(going, step, (state, nothing))


def _without_list(state: State) -> tuple[Motion, Evaluation, Array]:
    return state.motion, state.evaluation, state.unconverged


def _step(
    moving: MovingSystem, warm_start: WarmStart, integrator: Integrator, params: Params, old: State
) -> tuple[State, Array]:
    motion = integrator.first_half(old.motion, old.evaluation.forces)
    neighbors = old.neighbors.refresh(motion.positions)
    guess = guess_from(old.evaluation, warm_start, moving.precision)
    prediction, needed = moving.evaluate(params, motion.positions, neighbors, guess)
    evaluation = evaluation_of(prediction, neighbors, old.evaluation)
    motion = integrator.second_half(motion, evaluation.forces)
    motion = replace(motion, step=motion.step + 1)
    unconverged = jnp.where(evaluation.converged, 0, old.unconverged + 1)
    return State(motion, evaluation, neighbors, unconverged), needed


def _judge(
    moving: MovingSystem, integrator: Integrator, limits: Limits, new: State, needed: Array
) -> Outcome:
    """Says whether a step may be kept; the first of the reasons that apply counts."""
    kinetic = kinetic_energy(new.motion.velocities, integrator.masses)
    temperature = 2.0 * kinetic / (limits.freedom * limits.boltzmann)
    energy = new.evaluation.energy
    status = jnp.where(new.unconverged > limits.unconverged, Status.UNCONVERGED, Status.GOOD)
    status = jnp.where(temperature > limits.temperature, Status.HOT, status)
    status = jnp.where(moving.fits(new.motion.positions), status, Status.THICK)
    status = jnp.where(jnp.isfinite(kinetic + energy), status, Status.NON_FINITE)
    status = jnp.where(jnp.any(needed > new.neighbors.capacity), Status.OVERFLOW, status)
    return Outcome(status.astype(jnp.int32), needed, temperature)
