"""What all Coulomb operators share: checks of their multipoles, sums over channels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from electrojax.electrostatics.density import (
    check_components,
    check_order,
    each_channel,
    felt_by_channels,
    summed_channels,
)
from electrojax.typing import Array


class SitesOperator(ABC):
    """The public side of an operator; an engine's operator adds its sum over [N, M] multipoles.

    Attributes:
        l_max: highest multipole order.
    """

    l_max: int

    def potential(self, multipoles: Array) -> Array:
        """Returns ∂E/∂p, the potential and its gradients averaged over each atom's own Gaussians.

        Args:
            multipoles: [N, M] or [N, C, M] e·Å^l.

        Returns:
            the same shape, eV/(e·Å^l); every channel feels the sum of all channels.
        """
        check_components(multipoles, self.l_max)
        return felt_by_channels(self._potential(summed_channels(multipoles)), multipoles)

    def energy(self, multipoles: Array) -> Array:
        """Returns the Coulomb energy ½⟨p, Ap⟩ of every structure.

        Args:
            multipoles: [N, M] or [N, C, M] e·Å^l.

        Returns:
            [G] eV.
        """
        check_components(multipoles, self.l_max)
        return self._energy(summed_channels(multipoles))

    def receive(
        self,
        multipoles: Array,
        widths: Sequence[float],
        l_max: int,
        self_interaction: bool = True,
    ) -> Array:
        """Returns the potential averaged over unit multipoles of other widths at the atoms.

        The arguments and the result are those of ReceivingOperator.

        Raises:
            ConfigError: if the sum does not resolve a receiver.
        """
        check_order(l_max)
        check_components(multipoles, self.l_max)
        return each_channel(
            lambda charge: self._receive(charge, widths, l_max, self_interaction), multipoles
        )

    @abstractmethod
    def _potential(self, charge: Array) -> Array:
        """A p [N, M] of the summed multipoles p [N, M]."""

    @abstractmethod
    def _energy(self, charge: Array) -> Array:
        """½⟨p, Ap⟩ [G] of the summed multipoles p [N, M]."""

    @abstractmethod
    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        """The averages [N, W, (l_max + 1)²] over receivers, of the multipoles [N, M]."""
