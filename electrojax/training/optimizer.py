"""The gradient step: Adam, clipping, learning-rate schedules and the moving average."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from electrojax.errors import ConfigError
from electrojax.typing import Array


def make_optimizer(
    name: Literal["adam", "adamw"] = "adam",
    clip: float | None = 10.0,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Returns the direction of the update, to be multiplied by minus the learning rate.

    Adam is Kingma and Ba, arXiv 1412.6980; adamw adds decoupled decay, Loshchilov and Hutter,
    arXiv 1711.05101. Weight decay acts on arrays of two or more axes (the weight matrices) and
    leaves biases, scales and single numbers alone: pulling those to zero shifts physical
    quantities rather than simplifying the model. The learning rate is not part of it, so that one
    compiled step serves every stage and schedule.

    Args:
        name: adam or adamw.
        clip: the largest norm of the whole gradient; None leaves it as it is.
        weight_decay: decay rate λ of adamw, per unit of learning rate.

    Raises:
        ConfigError: for an unknown name, or weight decay without adamw.
    """
    if name not in ("adam", "adamw"):
        raise ConfigError(f'optimizer.name: "{name}" does not exist; choose adam or adamw')
    if weight_decay and name != "adamw":
        raise ConfigError(f"optimizer.weight_decay: {name} has none; use name: adamw")
    parts = [] if clip is None else [optax.clip_by_global_norm(clip)]
    parts.append(optax.scale_by_adam())
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay, mask=decay_mask))
    return optax.chain(*parts)


def decay_mask(params: Any) -> Any:
    """Returns which parameters weight decay acts on: arrays of two or more axes."""
    return jax.tree.map(lambda p: jnp.ndim(p) >= 2, params)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate over one stage.

    Attributes:
        peak: the largest value.
        kind: ``constant``; ``cosine``: down to ``final`` along half a cosine (Loshchilov and
            Hutter, arXiv 1608.03983); ``exponential``: down to ``final`` by a constant factor.
        warmup: the share of the stage over which the rate rises linearly to its peak.
        final: the last value over the peak.
    """

    peak: float
    kind: Literal["constant", "cosine", "exponential"] = "constant"
    warmup: float = 0.0
    final: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "cosine", "exponential"):
            raise ConfigError(
                f'schedule: "{self.kind}" does not exist; choose constant, cosine or exponential'
            )
        if not (self.peak > 0 and 0 <= self.warmup < 1 and 0 < self.final <= 1):
            raise ConfigError(
                "schedule: needed learning_rate > 0, 0 <= warmup < 1 and 0 < final <= 1, got "
                f"{self.peak}, {self.warmup} and {self.final}"
            )

    def __call__(self, progress: float) -> float:
        """Returns the learning rate.

        Args:
            progress: the part of the stage that is done, in [0, 1].
        """
        if progress < self.warmup:
            # Never exactly zero, so that the first step of a stage does something.
            return self.peak * max(progress / self.warmup, 1e-3)
        done = min((progress - self.warmup) / (1 - self.warmup), 1.0)
        match self.kind:
            case "cosine":
                share = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))
            case "exponential":
                share = self.final**done
            case _:
                share = 1.0
        return self.peak * share


def moving_average(average: Any, params: Any, decay: float, step: Array) -> Any:
    """Returns the exponential moving average of the parameters after one more step.

    θ̄ ← d_t θ̄ + (1 − d_t) θ with d_t = min(d, (1 + t)/(10 + t)): the average of a short run is
    not held back by its random start.

    Args:
        average: θ̄.
        params: θ after the step.
        decay: d in [0, 1); 0 makes the average the parameters themselves.
        step: t, number of steps before this one.
    """

    def mix(old: Array, new: Array) -> Array:
        t = step.astype(new.dtype)
        d = jnp.minimum(jnp.asarray(decay, new.dtype), (1 + t) / (10 + t))
        return d * old + (1 - d) * new

    return jax.tree.map(mix, average, params)
