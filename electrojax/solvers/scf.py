"""Self-consistent fields: densities that respond to the potential that they make."""

from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.field import field_coupling
from electrojax.errors import ConfigError, DataError
from electrojax.nn.features import Features
from electrojax.nn.options import option
from electrojax.nn.readout import MultipoleReadout
from electrojax.numerics.constraint import at_atoms, charge_constraint, fermi_level, reservoir
from electrojax.numerics.fixed_point import (
    finalize_fixed_point,
    level_at_start,
    residual,
    size,
    unrolled_updates,
)
from electrojax.numerics.mixing import mixing_iteration, newton_krylov
from electrojax.numerics.report import SolverReport
from electrojax.numerics.variational import finalize_minimum, quadratic_minimum, stationary_energies
from electrojax.numerics.variational import levels as multipliers_of
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.charge_control import charge_control_option, check_charges
from electrojax.solvers.problems.diagnostics import LEGENDRE_GAP, map_diagnostics
from electrojax.solvers.problems.neighborhood import neighborhoods
from electrojax.solvers.problems.quadratic import field_potentials, quadratic_energy
from electrojax.solvers.problems.response_map import ResponseReadout
from electrojax.solvers.problems.self_consistent import (
    FreeResponse,
    SymmetricResponse,
    symmetric_response,
)
from electrojax.solvers.readouts.elements import (
    CHARGE_PER_ELECTRONEGATIVITY,
    ElementTable,
    electropositivities,
)
from electrojax.solvers.readouts.energy_readout import PolarisationEnergy
from electrojax.solvers.readouts.hardness import INITIAL_HARDNESS, Hardness
from electrojax.solvers.readouts.irreps import irreps
from electrojax.solvers.readouts.receivers import check_receivers, receiver_units
from electrojax.solvers.state import LEVEL_LABELS, ChargeGuess, ChargeState
from electrojax.system.quantities import DIAGNOSTICS
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System, graph_sum
from electrojax.typing import Array

GRADIENTS = ("implicit", "direct", "unroll")
"""implicit: at the solution; direct: one update of the guess; unroll: through some updates."""

HARDNESS_FLOOR = 0.1
"""eV/(e·Å^l)², the ε of H = ε1 + L Lᵀ."""

Found = tuple[Array, Array, SolverReport]
"""Multipoles [N, M], levels [N] of each group, and how they were found."""


class SelfConsistentField(ChargeSolver):
    """Multipoles p = p_loc + Δ(v[p] + v_ext + μ): a local density and its response.

    ``symmetric``: Δ(v) = −H⁻¹ v with a positive definite block H per atom and v averaged over the
    density's own Gaussians, so that one solution exists, the minimum of ½⟨p, (A + H) p⟩ −
    ⟨H p_loc, p⟩. ``free``: signed responses to receivers of several widths without the atom's own
    potential, as in Baldwin et al., arXiv 2603.14700; solutions may be none, or several. The energy
    is read from the converged density: E = E_short + ½⟨p, A p⟩ − E_field·P + Σ_i e_i, and at fixed
    potential Ω = E + μQ.

    ``energy: functional`` is the energy that a symmetric response minimises. The others are not
    stationary in the density, and far parts A and B whose charges share one level exchange charge
    by dQ_A/dR = k_e (Q_A − Q_B)/R² / (μ_A' + μ_B'), with μ(Q) and E(Q) of each part alone: beside
    Coulomb's k_e Q_A Q_B/R² the force keeps −(E_A' − E_B') dQ_A/dR at any distance, which is zero
    where E' = −μ alone. With ``fragments`` no charge flows, and the ratio of the force between
    charged fragments to Coulomb's approaches 1 as 1/R. (Between an ion and a neutral polarisable
    fragment Coulomb's force, R⁻³, is of the order of the deviation itself.)
    """

    provides: ClassVar[tuple[str, ...]] = LEVEL_LABELS
    gradients: ClassVar[tuple[str, ...]] = GRADIENTS
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES
    conducts: ClassVar[bool] = True

    charge_control: Literal["fixed_charge", "fixed_potential"] = charge_control_option()
    response: Literal["symmetric", "free"] = option(
        "symmetric",
        "symmetric: positive definite hardness, one solution; free: signed, several receivers",
    )
    update: Literal["affine", "one_body", "many_body"] = option(
        "affine", "of the free response: affine in the potentials, a function, with messages"
    )
    energy: Literal["functional", "coulomb", "quadratic", "perceptron"] = option(
        "functional",
        "functional: the one that a symmetric response minimises, ½⟨Δ, H Δ⟩ beyond Coulomb; "
        "coulomb: none beyond Coulomb; quadratic, perceptron: learned, of density and potential. "
        "Of the last three -dE/dfield is not the dipole and -dE/dQ not the Fermi level: no fixed "
        "potential, responses are derivatives of the density's polarisation, and forces between "
        "far parts that exchange charge are not Coulomb's at any distance (fragments: they "
        "approach them as 1/R)",
    )
    potentials: Literal["local", "absolute"] = option(
        "local",
        "what the learned energy of a free response reads: local: differences from the mean over "
        "an atom and its neighbours; absolute: itself",
    )
    fragments: bool = option(
        False,
        "keep the charge of every fragment: the sum of its atoms' formal charges; forces between "
        "far fragments then approach Coulomb's with every energy",
    )
    initial_hardness: float = option(
        500.0,
        "eV/e², of charges before training: hundreds for molecules and ions, between which no "
        "charge flows; about 10 for metals",
        minimum=1e-6,
        maximum=1e6,
    )
    rank: int = option(
        4, "vectors that couple an atom's charge with its dipole", minimum=0, maximum=1000
    )
    terms: int = option(8, "invariants of the energy", minimum=1, maximum=1000)
    receiver_widths: tuple[float, ...] = option(
        (1.5, 3.0),
        "Å, of the free response; not below the width of the density",
        minimum=1e-3,
        maximum=1e3,
    )
    receiver_norms: tuple[float, ...] = option(
        (), "by which received potentials are divided, V/Å^l: of each width in turn, per order l"
    )
    on_site: bool = option(False, "receivers of the free response feel their own atom's density")
    mixing: Literal["krylov", "anderson", "linear"] = option(
        "krylov", "krylov: linear solves, in Newton steps where the map is not affine"
    )
    mixing_fraction: float = option(0.25, "damping of mixing and unroll", maximum=1, minimum=1e-6)
    history: int = option(5, "differences that Anderson mixing keeps", minimum=1, maximum=1000)
    tolerance: float = option(
        1.0e-6, "largest residual F(p) − p of a charge, e", minimum=1e-14, maximum=0.1
    )
    max_steps: int = option(
        200, "products of a linear solve, or updates of mixing", minimum=1, maximum=10**6
    )
    max_newton: int = option(
        20, "Newton steps of a map that is not affine", minimum=1, maximum=10_000
    )
    linear_solver: Literal["auto", "dense", "cg"] = option(
        "auto", "of the symmetric response; dense: Cholesky; cg: conjugate gradients; auto: by size"
    )
    unroll_steps: int = option(10, "updates of gradient unroll", minimum=1, maximum=1000)

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """What its map says of itself; with fragments not ∂E/∂Q, where no total charge is given."""
        return tuple(n for n in DIAGNOSTICS if n != LEGENDRE_GAP or not self.fragments)

    @property
    def consistent(self) -> bool:
        """Whether responses of the energy are those of the density."""
        return self.energy == "functional" and self.gradient == "implicit"

    @property
    def uses_receivers(self) -> bool:
        """Whether the Coulomb operator has to receive with other widths."""
        return self.response == "free"

    def check(self, frame: Frame) -> None:
        """Raises an error if a structure lacks what its charges are fixed by, or options clash."""
        check_charges(frame, self.charge_control, self.fragments)
        control = frame.charge_control or self.charge_control
        if self.fragments and control == "fixed_potential":
            raise DataError(
                f"{frame.source}: charge_control fixed_potential, where no fragment keeps a charge "
                "of its own; needed fixed_charge, or model.solver.fragments false"
            )
        if self.response == "symmetric" and self.update != "affine":
            raise ConfigError(
                f'model.solver: update "{self.update}" needs response "free"; a symmetric response '
                "is affine"
            )
        if self.response == "symmetric":
            if self.potentials != "local":
                raise ConfigError(
                    f'model.solver: potentials "{self.potentials}" needs response "free"; a '
                    "symmetric response reads none"
                )
            return
        if self.energy == "functional":
            raise ConfigError(
                'model.solver: energy "functional" needs response "symmetric"; a free response '
                "minimises nothing: choose quadratic, perceptron or coulomb"
            )
        check_receivers(self.receiver_widths, self.receiver_norms, self.width, self.l_max)

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the self-consistent density and the terms of its energy."""
        problem = self._problem(features, system, coulomb)
        start = problem.local if guess is None else guess.over(problem.local)
        given = jnp.zeros(system.n_graphs, start.dtype) if guess is None else guess.fermi_level
        found = self._found(problem, start, level_at_start(problem, given))
        multipoles, multipliers, report = found
        energies = self._energies(features, problem, multipoles, multipliers)
        level = fermi_level(problem, multipliers)
        density = of_one_width(multipoles, self.width)
        levels = problem.constraint.broadcast_to_atoms(multipliers, multipoles)[:, 0]
        levels = jnp.where(system.node_mask, levels + at_atoms(reservoir(system), system), 0.0)
        told = map_diagnostics(self.diagnostics, problem, multipoles, multipliers)
        return ChargeState(density, energies, level, levels, report, told)

    def _problem(self, features: Features, system: System, coulomb: CoulombOperator) -> Any:
        local = MultipoleReadout(irreps(self.l_max), name="local")(features)
        start = electropositivities(CHARGE_PER_ELECTRONEGATIVITY)
        local = local.at[:, 0].add(ElementTable(start, name="charge")(system, local.dtype))
        local = jnp.where(system.node_mask[:, None], local, 0.0)
        if self.response == "free":
            return self._free(features, system, coulomb, local)
        scales = (self.initial_hardness, *[INITIAL_HARDNESS] * self.l_max)
        hardness = Hardness(self.l_max, rank=self.rank, scales=scales, name="hardness")
        blocks = hardness(features, system)
        blocks = blocks + HARDNESS_FLOOR * jnp.eye(local.shape[1], dtype=local.dtype)
        energy = quadratic_energy(
            system,
            coulomb,
            blocks,
            jnp.einsum("nij,nj->ni", blocks, local),
            self.width,
            self.cutoff,
            self.fragments,
            linear_solver=self.linear_solver,
            max_steps=self.max_steps,
        )
        return symmetric_response(energy, local)

    def _free(
        self, features: Features, system: System, coulomb: CoulombOperator, local: Array
    ) -> FreeResponse:
        widths = len(self.receiver_widths)
        readout = ResponseReadout(
            self.l_max, widths, self.rank, self.update, self.cutoff, name="response"
        )
        norms = receiver_units(self.receiver_norms, self.receiver_widths, self.l_max, local.dtype)
        return FreeResponse(
            system=system,
            coulomb=coulomb,
            receive=receivers(coulomb, self.receiver_widths, self.l_max, self.on_site),
            local=local,
            response=readout(features, system),
            field=field_coupling(system, self.cutoff, coulomb),
            constraint=charge_constraint(system, self.fragments),
            norms=norms,
            width=self.width,
            max_steps=self.max_steps,
        )

    def _found(self, problem: Any, start: Array, levels: Array) -> Found:
        if self.gradient != "implicit":
            return self._updated(problem, start, levels)
        frozen, start, levels = jax.lax.stop_gradient((problem, start, levels))
        if self.mixing == "krylov" and isinstance(problem, SymmetricResponse):
            multipoles, report = quadratic_minimum(problem.energy, start, self.tolerance)
            return multipoles, multipliers_of(problem.energy, multipoles), report
        if self.mixing == "krylov":
            found = newton_krylov(frozen, start, levels, self.tolerance, self.max_newton)
        else:
            history = self.history if self.mixing == "anderson" else 0
            limits = (self.tolerance, self.max_steps, self.mixing_fraction, history)
            found = mixing_iteration(frozen, start, levels, *limits)
        if not isinstance(problem, SymmetricResponse):
            return finalize_fixed_point(problem, *found, self.tolerance)
        steady = jnp.where(jnp.isfinite(found[0]), found[0], 0.0)
        multipoles, report = finalize_minimum(problem.energy, steady, found[2], self.tolerance)
        return multipoles, multipliers_of(problem.energy, multipoles), report

    def _updated(self, problem: Any, start: Array, levels: Array) -> Found:
        """One update of the guess, or a few damped ones, differentiated through."""
        steps, fraction = 1, 1.0
        if self.gradient == "unroll":
            steps, fraction = self.unroll_steps, self.mixing_fraction
        multipoles, levels = unrolled_updates(problem, start, levels, steps, fraction)
        frozen = jax.lax.stop_gradient((problem, multipoles, levels))
        left = size(frozen[0], residual(*frozen)[:, :-1])
        # Nothing was to converge: the loss keeps every structure.
        every = jnp.ones(left.shape, dtype=bool)
        return multipoles, levels, SolverReport(every, jnp.full(left.shape, steps), left)

    def _energies(
        self, features: Features, problem: Any, multipoles: Array, multipliers: Array
    ) -> dict[str, Array]:
        system = problem.system
        if self.energy == "functional":
            return self._matching(problem, multipoles, multipliers)
        charge = graph_sum(multipoles[:, 0], system)
        energies = {
            "coulomb": problem.coulomb.energy(multipoles),
            "field": problem.field.energy(multipoles, system),
            "reservoir": reservoir(system) * charge,
        }
        if self.energy == "coulomb":
            return energies
        hidden = (32, 32) if self.energy == "perceptron" else ()
        readout = PolarisationEnergy(self.l_max, self.width, self.terms, hidden, name="energy")
        potential = self._potential(problem, multipoles, multipliers)
        values = readout(features, multipoles - problem.local, potential)
        return {**energies, "polarisation": graph_sum(values, system)}

    def _matching(self, problem: Any, multipoles: Array, multipliers: Array) -> dict[str, Array]:
        """The energy minimised, from p_loc: ½⟨p, A p⟩ + ½⟨p − p_loc, H (p − p_loc)⟩ − E·P + μQ.

        The functional's own zero is far from there: −½⟨p_loc, H p_loc⟩ of hard atoms is large.
        """
        if self.gradient == "implicit":
            energies = stationary_energies(multipoles, multipliers, problem.energy)
        else:
            energies = problem.energy.energies(multipoles, jnp.zeros_like(multipliers))
        local = 0.5 * jnp.sum(problem.energy.drive * problem.local, axis=1)
        charging = energies["charging"] + graph_sum(local, problem.system)
        return {**energies, "charging": charging}

    def _potential(self, problem: Any, multipoles: Array, multipliers: Array) -> Array:
        """What acts on every atom's own Gaussians [N, M] V/Å^l, field and level included."""
        values = problem.coulomb.potential(multipoles) + field_potentials(problem.field, multipoles)
        values = values + problem.constraint.broadcast_to_atoms(multipliers, multipoles)
        values = values.at[:, 0].add(at_atoms(reservoir(problem.system), problem.system))
        if self.response == "free" and self.potentials == "local":
            values = neighborhoods(problem.system, self.cutoff).differences(values)
        return jnp.where(problem.system.node_mask[:, None], values, 0.0)
