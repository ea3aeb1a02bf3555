"""One step of training and one of evaluation, compiled once per (Capacity, boundary)."""

import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from electrojax.models.prediction import Prediction
from electrojax.solvers.state import ChargeGuess
from electrojax.system.types import Batch, System
from electrojax.training.loss import TermSums, loss
from electrojax.training.optimizer import moving_average
from electrojax.typing import Array, struct

Params = Any
Apply = Callable[..., Prediction]
"""Pure and differentiable: parameters, inputs and, if there is one, a guess to a prediction."""

Guess = Callable[[Batch], ChargeGuess]
"""A density that the charge solver starts from, such as that of the labels."""


@struct
class TrainState:
    """Everything that a training step changes.

    Attributes:
        params: the parameters.
        ema: their moving average, the ones that are evaluated and saved.
        opt_state: the optimizer's moments.
        step: number of steps taken.
    """

    params: Any
    ema: Any
    opt_state: Any
    step: Array


@struct
class Controls:
    """What the host decides anew for each step, without compiling again.

    Attributes:
        learning_rate: the factor of the update.
        weights: of the loss terms by name; their names, not their values, decide the program.
    """

    learning_rate: Any
    weights: dict[str, Any]


HEAD = ("loss", "gradient_norm", "graphs", "unconverged", "solver_steps")
"""What a step reports beside the sums of each loss term."""

TrainStep = Callable[[TrainState, Batch, Controls], tuple[TrainState, Array]]
"""State, batch and controls to the next state and a report (see :func:`read_report`)."""
EvalStep = Callable[[Params, System], Prediction]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step; the parameters handed in stay usable."""
    own = jax.tree.map(jnp.array, params)
    return TrainState(
        params=own,
        ema=jax.tree.map(jnp.array, params),
        opt_state=optimizer.init(own),
        step=jnp.zeros((), jnp.int32),
    )


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    ema: float = 0.99,
    guess: Guess | None = None,
) -> TrainStep:
    """Returns the compiled step: gradient of the loss, clipping, Adam, moving average.

    The state is donated: its arrays are gone after the call. A step whose loss or gradient is not
    finite leaves parameters and moments as they were, so that the host, which hears of it a few
    steps later, still holds a usable state.

    Args:
        apply: the model.
        optimizer: from :func:`make_optimizer`.
        ema: decay of the moving average of the parameters, 0 for none.
        guess: what the charge solver starts from; its own start where not given.
    """

    def objective(params: Params, batch: Batch, weights: dict[str, Array]) -> tuple[Array, Any]:
        started = () if guess is None else (guess(batch),)
        prediction = apply(params, batch.system, *started)
        value, sums = loss(prediction, batch, weights)
        return value, (sums, prediction.report)

    def step(state: TrainState, batch: Batch, controls: Controls) -> tuple[TrainState, Array]:
        (value, (sums, report)), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, batch, controls.weights
        )
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - controls.learning_rate * d, state.params, direction)
        average = moving_average(state.ema, params, ema, state.step)
        new = TrainState(params, average, opt_state, state.step + 1)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        return kept, _report(value, norm, batch.system, report, sums)

    return jax.jit(step, donate_argnums=0)


def make_eval_step(apply: Apply) -> EvalStep:
    """Returns the compiled prediction of a batch."""
    return jax.jit(apply)


def _report(
    value: Array, norm: Array, system: System, report: Any, terms: dict[str, TermSums]
) -> Array:
    """Packs what the host hears of a step into one array: a fetch costs as much for one number."""
    real = system.graph_mask
    head = [
        value,
        norm,
        jnp.sum(real),
        jnp.sum(real & ~report.converged),
        jnp.sum(jnp.where(real, report.steps, 0)),
    ]
    tail = [getattr(terms[name], f.name) for name in sorted(terms) for f in fields(TermSums)]
    return jnp.stack([jnp.asarray(v).astype(value.dtype) for v in (*head, *tail)])


def read_report(
    values: np.ndarray, names: Iterable[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Returns what a step reported, and its sums by loss term.

    Args:
        values: [5 + 5 T], the second output of a training step, on the host.
        names: of the T loss terms, in any order.
    """
    numbers = [float(v) for v in values]
    head, rest = dict(zip(HEAD, numbers)), iter(numbers[len(HEAD) :])
    terms = {name: {f.name: next(rest) for f in fields(TermSums)} for name in sorted(names)}
    return head, terms


class Timed:
    """A compiled function that counts its programs and the seconds spent compiling them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.compile_s = 0.0

    @property
    def programs(self) -> int:
        """Number of programs compiled so far (0 for a function that is not compiled)."""
        size = getattr(self.function, "_cache_size", None)
        return int(size()) if size else 0

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function; a call that made a new program counts as compilation."""
        before, start = self.programs, time.perf_counter()
        result = self.function(*arguments)
        if self.programs > before:
            self.compile_s += time.perf_counter() - start
        return result


def to_host(tree: Any) -> Any:
    """Returns NumPy copies of device arrays that stay valid when the originals are donated.

    On CPU a fetched array may be a view of the device's buffer, so the buffer is copied first.
    """
    copies = jax.tree.map(jnp.array, tree)
    return jax.tree.map(np.asarray, jax.device_get(copies))
