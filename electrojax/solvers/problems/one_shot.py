"""One energy of a density that responds once, and that density as its derivative.

With a bare density p⁰ read from the environment and the potential v = A p⁰ + v_ext,

    E[v_ext] = ½⟨p⁰, A p⁰⟩ + ⟨p⁰, v_ext⟩ + Σ_i W_i(v̂_i),  v̂ = G v,
    p = ∂E/∂v_ext = p⁰ + Gᵀ ∂W/∂v̂,

with G of :mod:`electrojax.solvers.problems.neighborhood`: the Hellmann–Feynman theorem (R. P.
Feynman, Phys. Rev. 56, 340 (1939)) read as a definition of p. Then −∂E/∂E_field is the dipole of p
and −∂²E/∂E² its slope, identically. W is concave in v̂, so that the polarisability is not negative:

    W_i(v̂) = −½ ⟨v̂, K_i v̂⟩ − Σ_k a_ik c(u_ik·v̂ + b_ik) − Σ_l a'_il c(|v̂_l| w^l/v₀),

with positive definite softnesses K, a, a' > 0 and c(x) = √(1 + x²) − 1.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import degrees
from electrojax.errors import ConfigError
from electrojax.nn.features import Features
from electrojax.solvers.problems.convex import ConvexReadout, ConvexTerms
from electrojax.solvers.problems.neighborhood import Neighborhoods
from electrojax.solvers.readouts.hardness import Hardness
from electrojax.system.types import System
from electrojax.typing import Array, struct

SOFTNESS = 0.02
"""e/V times Å^2l of the width, unit of K: a few hundredths of an e/V before training."""

SATURATION = 3.0
"""V, v₀, from which the other terms grow linearly: of the order of potentials in molecules."""


@struct
class ConcaveResponse:
    """The coefficients of every atom's W.

    Attributes:
        softness: [N, M, M] (e·Å^l)/(V/Å^l), positive definite; zero on padding.
        terms: of potentials instead of multipoles, in units of SATURATION.
    """

    softness: Array
    terms: ConvexTerms

    def energies(self, differences: Array) -> Array:
        """Returns W_i [N] in eV of v̂ [N, M] V/Å^l."""
        bent = jnp.einsum("nl,nlm,nm->n", differences, self.softness, differences)
        return -0.5 * bent - self.terms.energies(differences)


class ConcaveReadout(nn.Module):
    """Reads W from the features.

    Attributes:
        l_max: highest multipole order.
        width: Å, of the density.
        terms: number of planes u_k.
        rank: vectors in K that couple an atom's potential with its field.
    """

    l_max: int
    width: float
    terms: int
    rank: int = 2

    @nn.compact
    def __call__(self, features: Features, system: System) -> ConcaveResponse:
        """Returns the coefficients of every atom."""
        unit = (1.0,) * (self.l_max + 1)
        blocks = Hardness(self.l_max, rank=self.rank, scales=unit, name="softness")
        softness = SOFTNESS * blocks(features, system)
        lengths = self.width ** degrees(softness[0])
        mask = system.node_mask[:, None, None]
        softness = jnp.where(mask, softness * lengths[:, None] * lengths, 0.0)
        # Its vectors are of multipoles over w^l; here potentials times w^l are what they see.
        planes = ConvexReadout(self.l_max, self.width, self.terms, name="planes")(features, system)
        vectors = planes.vectors * lengths**2 / SATURATION
        terms = ConvexTerms(
            weights=SOFTNESS * SATURATION**2 * planes.weights,
            vectors=vectors,
            shifts=planes.shifts,
            scale=SATURATION / lengths,
        )
        return ConcaveResponse(softness, terms)


def response(
    bare: Array,
    applied: Array,
    unfelt: Array,
    coulomb: CoulombOperator,
    concave: ConcaveResponse,
    around: Neighborhoods,
) -> tuple[Array, Array, Array]:
    """Returns the induced multipoles, the energies of the response and the slopes ∂E/∂p⁰.

    ∂E/∂p⁰ = A p⁰ + v_ext + (A − a) Gᵀ ∂W/∂v̂, with a what is left out of v = (A − a) p⁰ + v_ext.

    Args:
        bare: p⁰ [N, M] e·Å^l.
        applied: v_ext [N, M] V/Å^l, zero on padding.
        unfelt: a [M], of an atom's own multipoles.
        coulomb: A.
        concave: W.
        around: G.

    Returns:
        δp = Gᵀ ∂W/∂v̂ [N, M] e·Å^l, W_i [N] eV and ∂E/∂p⁰ [N, M] V/Å^l.
    """

    def total(v: Array) -> tuple[Array, Array]:
        energies = concave.energies(around.differences(v))
        return jnp.sum(energies), energies

    felt = coulomb.potential(bare) + applied - unfelt * bare
    induced, energies = jax.grad(total, has_aux=True)(felt)
    slopes = coulomb.potential(bare + induced) + applied - unfelt * induced
    return induced, energies, slopes


def check_options(solver: nn.Module) -> None:
    """Checks that a solver's options leave one update by potential differences.

    Args:
        solver: with the options of ``non_scf``.

    Raises:
        ConfigError: for options that a single, consistent update does not have.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(solver)}
    needed = {"steps": 1, "form": "guarded", "potentials": "local"}
    needed |= {name: defaults[name] for name in ("receiver_widths", "receiver_norms")}
    for name, value in needed.items():
        wanted, got = (
            list(x) if isinstance(x, tuple) else x for x in (value, getattr(solver, name))
        )
        if wanted != got:
            raise ConfigError(
                'model.solver: energy "one_shot" is one update by the potential differences at the '
                f"density's own Gaussians; needed {name}: {wanted}, got {got}"
            )
