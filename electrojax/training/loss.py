"""The loss: masked, weighted mean squared errors."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.models.prediction import Prediction
from electrojax.system.quantities import DIAGNOSTICS, REQUIRES
from electrojax.system.types import Batch, System, graph_sum
from electrojax.training.residuals import per_graph_to, residual
from electrojax.typing import Array, struct


@struct
class TermSums:
    """Sums over one batch from which the loss and the errors of one quantity follow.

    Attributes:
        loss_square: Σ w (f Δ)² over the labelled entries of converged structures with w > 0.
        loss_count: number of those entries.
        entries: number of labelled entries.
        square: Σ Δ² over the labelled entries.
        absolute: Σ |Δ| over them.
    """

    loss_square: Array
    loss_count: Array
    entries: Array
    square: Array
    absolute: Array


def check_loss(weights: Mapping[str, float], provides: Iterable[str]) -> None:
    """Refuses a loss that asks for what does not exist.

    Args:
        weights: of the terms, by name.
        provides: the quantities that the model predicts.

    Raises:
        ConfigError: for an unknown term, a term that the model does not predict, a weight that is
            negative or not finite, or a loss without any term.
    """
    provided = tuple(provides)
    for name, weight in weights.items():
        if name not in REQUIRES:
            raise ConfigError(f"loss.{name}: no such term; choose from {', '.join(REQUIRES)}")
        if not 0.0 <= weight < float("inf"):
            raise ConfigError(f"loss.{name}: {weight}; needed a finite weight of at least 0")
        if weight and name in DIAGNOSTICS and name not in provided:
            raise ConfigError(
                f"loss.{name}: only a solver that iterates to self-consistency (kind scf) says it "
                "of itself; set the weight to 0 or choose that solver"
            )
        if weight and REQUIRES[name] not in provided:
            raise ConfigError(
                f"loss.{name}: this model does not predict {REQUIRES[name]} (it predicts "
                f"{', '.join(provided)}); set the weight to 0 or choose another solver"
            )
    if not any(weights.values()):
        raise ConfigError("loss: every weight is 0; give at least one, such as forces: 10")


def loss(
    prediction: Prediction, batch: Batch, weights: Mapping[str, float | Array]
) -> tuple[Array, dict[str, TermSums]]:
    """Returns the loss of a batch and the sums it was made of.

    L = Σ_k λ_k L_k, with L_k = Σ_a m_a w_g(a) (f_a Δ_a)² / Σ_a m_a over the entries a of quantity
    k: m_a is 1 where a label exists, the charge solver of structure g(a) converged and its weight
    w_g is not 0, else 0: a weight of 0 is as good as leaving the structure out. Entries and factors
    f by quantity:

    - energy: one per structure, Δ = (E − E_ref)/N, (eV/atom)²;
    - forces: three per atom, (eV/Å)²; stress: nine per periodic structure, (eV/Å³)²;
    - dipole: three per open structure, f = 1/N, (e·Å/atom)²; polarization: three per structure,
      f = 1/N, to the nearest label modulo e times the periodic lattice vectors;
    - quadrupole: nine per open structure, traceless, f = 1/N, (e·Å²/atom)²;
    - polarizability: nine per structure, f = 1/N, (e·Å²/V/atom)²; born_charges: nine per atom, e²;
    - charges: one per atom, e²; potential: one per atom, V²; multipoles: one per labelled component
      that the model has, density channels summed, (e·Å^l)²;
    - fermi_level: one per structure, eV²; total_charge: one per structure, f = 1/N, e²;
    - level_slope, stability, legendre_gap: one per structure, (e²/eV)², 1 and eV²; last_step: one
      per component, e². They need no label (:func:`electrojax.training.residuals.residual`).

    A quantity without any label contributes exactly zero, to the loss and to its gradient. The
    mean is over labelled entries, so padding and unlabelled batch-mates do not change it.

    Args:
        prediction: of the batch.
        batch: inputs and labels.
        weights: λ_k by name, each in the inverse of its term's unit.

    Returns:
        The loss, dimensionless, and the sums by quantity.
    """
    system = batch.system
    atoms = jnp.maximum(graph_sum(jnp.ones_like(prediction.charges), system), 1)
    converged = prediction.report.converged.astype(prediction.energy.dtype)
    terms = {name: _sums(name, prediction, batch, atoms, converged) for name in weights}
    parts = [
        weights[name] * term.loss_square / jnp.maximum(term.loss_count, 1)
        for name, term in terms.items()
    ]
    return jnp.sum(jnp.stack(parts)), terms


def _sums(
    name: str, prediction: Prediction, batch: Batch, atoms: Array, converged: Array
) -> TermSums:
    system: System = batch.system
    part = residual(name, prediction, batch, lambda v: graph_sum(v, system), atoms)
    mask = jnp.broadcast_to(part.mask, part.predicted.shape)
    # where, not a product: a label that is missing must stop NaN as well as numbers.
    delta = jnp.where(mask, part.predicted - part.reference, 0)
    factor = 1 / atoms if part.per_atom else jnp.ones_like(atoms)
    weights = jnp.asarray(batch.targets.weight)
    counted = mask * _column(part.axis, converged * (weights > 0), system)
    weight = counted * _column(part.axis, weights * factor**2, system)
    fixed = jax.lax.stop_gradient(delta)
    return TermSums(
        # Structures that did not converge are left out before squaring, for the same reason.
        loss_square=jnp.sum(weight * jnp.where(counted > 0, delta, 0) ** 2),
        loss_count=jnp.sum(counted),
        entries=jnp.sum(mask.astype(fixed.dtype)),
        square=jnp.sum(fixed**2),
        absolute=jnp.sum(jnp.abs(fixed)),
    )


def _column(axis: str, values: Array, system: System) -> Array:
    return per_graph_to(axis, values, system, lambda v: jnp.append(v, jnp.zeros(1, v.dtype)))
