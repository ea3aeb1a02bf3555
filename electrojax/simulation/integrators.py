"""Integrators of the equations of motion, each in two halves around one evaluation of the forces.

They are the splittings of ``jax_md.simulate``, and the tests compare them step by step. They are
written out here because a jax-md integrator gets forces alone from its force function: energies,
charges and the density that starts the next step's solver would need a second evaluation.
Its Nosé–Hoover also counts 3N degrees of freedom where the conserved momenta leave fewer.

Units: Å, eV, amu; the time unit Å·√(amu/eV) is 10.18 fs (``ase.units``).
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from electrojax.typing import Array, replace, static, struct

_OUTER = 1.0 / (2.0 - 2.0 ** (1 / 3))
SUZUKI_YOSHIDA = (_OUTER, 1.0 - 2.0 * _OUTER, _OUTER)
"""Weights of the fourth-order composition (H. Yoshida, Phys. Lett. A 150, 262 (1990))."""


@struct
class Motion:
    """Where the atoms are and where they go.

    Attributes:
        positions: [N, 3] Å, not wrapped.
        velocities: [N, 3] √(eV/amu).
        chain_positions, chain_momenta: [M] of a Nosé–Hoover chain; empty without one.
        step: steps taken.
    """

    positions: Array
    velocities: Array
    chain_positions: Array
    chain_momenta: Array
    step: Array


class Integrator(Protocol):
    """The two halves of a step; forces [N, 3] eV/Å are those of the positions at hand."""

    @property
    def masses(self) -> Array:
        """[N, 1] amu."""
        ...

    def first_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion with the new positions and half-way velocities."""
        ...

    def second_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion with the new velocities."""
        ...

    def thermostat_energy(self, motion: Motion) -> Array:
        """Returns what must be added to E + K, in eV, for a conserved quantity."""
        ...


def kinetic_energy(velocities: Array, masses: Array) -> Array:
    """Returns ½ Σ m v² in eV; velocities [N, 3] √(eV/amu), masses [N, 1] amu."""
    return 0.5 * jnp.sum(masses * velocities**2)


@struct
class VelocityVerlet:
    """Constant energy (W. C. Swope et al., J. Chem. Phys. 76, 637 (1982)).

    Attributes:
        masses: [N, 1] amu.
        timestep: Å·√(amu/eV).
    """

    masses: Array
    timestep: Array

    def first_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after half a kick and a drift."""
        kicked = kick(motion, forces, self.masses, 0.5 * self.timestep)
        return drift(kicked, self.timestep)

    def second_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after the other half of the kick."""
        return kick(motion, forces, self.masses, 0.5 * self.timestep)

    def thermostat_energy(self, motion: Motion) -> Array:
        """Returns zero: E + K is conserved."""
        return jnp.zeros_like(motion.positions[0, 0])


@struct
class Langevin:
    """Constant temperature by friction and noise, in the order BAOAB.

    B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34 (2013). The noise of a step
    follows from the seed and the step's number alone, so that a step can be repeated.

    Attributes:
        masses: [N, 1] amu.
        timestep: Å·√(amu/eV).
        thermal_energy: k_B T in eV.
        friction: 1/(Å·√(amu/eV)).
        seed: a JAX random key.
    """

    masses: Array
    timestep: Array
    thermal_energy: Array
    friction: Array
    seed: Array

    def first_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after B, A, O and A."""
        moved = drift(kick(motion, forces, self.masses, 0.5 * self.timestep), 0.5 * self.timestep)
        return drift(self._ornstein_uhlenbeck(moved), 0.5 * self.timestep)

    def second_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after the last B."""
        return kick(motion, forces, self.masses, 0.5 * self.timestep)

    def thermostat_energy(self, motion: Motion) -> Array:
        """Returns NaN: nothing is conserved."""
        return jnp.full_like(motion.positions[0, 0], jnp.nan)

    def _ornstein_uhlenbeck(self, motion: Motion) -> Motion:
        velocities = motion.velocities
        keep = jnp.exp(-self.friction * self.timestep)
        width = jnp.sqrt(self.thermal_energy * (1.0 - keep**2) / self.masses)
        key = jax.random.fold_in(self.seed, motion.step)
        noise = jax.random.normal(key, velocities.shape, velocities.dtype)
        return replace(motion, velocities=keep * velocities + width * noise)


@struct
class NoseHoover:
    """Constant temperature by a Nosé–Hoover chain, time-reversible.

    G. J. Martyna, M. E. Tuckerman, D. J. Tobias and M. L. Klein, Mol. Phys. 87, 1117 (1996), with
    chain masses Q_1 = N_f k_B T τ² and Q_j = k_B T τ².

    Attributes:
        masses: [N, 1] amu.
        timestep: Å·√(amu/eV).
        thermal_energy: k_B T in eV.
        relaxation: τ in Å·√(amu/eV).
        freedom: N_f, degrees of freedom that carry heat.
        weights: of the substeps into which a step of the chain is split.
    """

    masses: Array
    timestep: Array
    thermal_energy: Array
    relaxation: Array
    freedom: Array
    weights: tuple[float, ...] = static(default=SUZUKI_YOSHIDA)

    def first_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after the thermostat, half a kick and a drift."""
        scaled = self._thermostat(motion)
        kicked = kick(scaled, forces, self.masses, 0.5 * self.timestep)
        return drift(kicked, self.timestep)

    def second_half(self, motion: Motion, forces: Array) -> Motion:
        """Returns the motion after the other half of the kick and the thermostat."""
        return self._thermostat(kick(motion, forces, self.masses, 0.5 * self.timestep))

    def thermostat_energy(self, motion: Motion) -> Array:
        """Returns Σ p²/2Q + k_B T (N_f η_1 + Σ_{j>1} η_j) in eV."""
        kinetic = 0.5 * jnp.sum(motion.chain_momenta**2 / self._chain_masses(motion))
        eta = motion.chain_positions
        return kinetic + self.thermal_energy * (self.freedom * eta[0] + jnp.sum(eta[1:]))

    def _chain_masses(self, motion: Motion) -> Array:
        mass = self.thermal_energy * self.relaxation**2
        return jnp.full_like(motion.chain_momenta, mass).at[0].multiply(self.freedom)

    def _thermostat(self, motion: Motion) -> Motion:
        """Half a step of the chain: ref. above, eq. 30, with the composition of three substeps."""
        mass = self._chain_masses(motion)
        eta, p = list(motion.chain_positions), list(motion.chain_momenta)
        twice_kinetic = 2.0 * kinetic_energy(motion.velocities, self.masses)
        total = jnp.ones_like(twice_kinetic)
        for weight in self.weights:
            h = 0.5 * weight * self.timestep
            p = self._drive(p, mass, twice_kinetic, 0.5 * h, outward=False)
            scale = jnp.exp(-h * p[0] / mass[0])
            total, twice_kinetic = total * scale, twice_kinetic * scale**2
            eta = [position + h * p[j] / mass[j] for j, position in enumerate(eta)]
            p = self._drive(p, mass, twice_kinetic, 0.5 * h, outward=True)
        return replace(
            motion,
            velocities=motion.velocities * total,
            chain_positions=jnp.stack(eta),
            chain_momenta=jnp.stack(p),
        )

    def _drive(
        self, p: list[Array], mass: Array, twice_kinetic: Array, h: Array, outward: bool
    ) -> list[Array]:
        """Chain momenta after a time h of their own forces, from the end inward or back."""
        p, last = list(p), len(p) - 1
        for j in range(last + 1) if outward else range(last, -1, -1):
            heat = twice_kinetic if j == 0 else p[j - 1] ** 2 / mass[j - 1]
            target = self.freedom * self.thermal_energy if j == 0 else self.thermal_energy
            brake = jnp.exp(-0.5 * h * p[j + 1] / mass[j + 1]) if j < last else 1.0
            p[j] = brake * (brake * p[j] + h * (heat - target))
        return p


def kick(motion: Motion, forces: Array, masses: Array, time: Array) -> Motion:
    """Returns the motion after v ← v + t F/m."""
    return replace(motion, velocities=motion.velocities + time * forces / masses)


def drift(motion: Motion, time: Array) -> Motion:
    """Returns the motion after r ← r + t v."""
    return replace(motion, positions=motion.positions + time * motion.velocities)
