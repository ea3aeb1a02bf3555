"""What learned responses see of the potential: averages over receivers of several widths."""

from collections.abc import Sequence

import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.typing import Array


def receiver_units(
    norms: Sequence[float], widths: Sequence[float], l_max: int, dtype: jnp.dtype
) -> Array:
    """Returns what received potentials are divided by, [W, M] V/Å^l.

    Args:
        norms: of each width in turn, one per order; none for 1.
        widths: Å.
        l_max: highest order.
        dtype: precision.
    """
    count = len(widths)
    values = jnp.asarray(norms or [1.0] * (count * (l_max + 1)), dtype)
    orders = jnp.asarray([l for l in range(l_max + 1) for _ in range(2 * l + 1)])
    return values.reshape(count, -1)[:, orders]


def check_receivers(
    widths: Sequence[float], norms: Sequence[float], width: float, l_max: int
) -> None:
    """Checks the options of the receivers against those of the density.

    Args:
        widths: of the receivers, Å.
        norms: of the received potentials.
        width: of the density, Å.
        l_max: highest order.

    Raises:
        ConfigError: if there is none, one is too narrow, or the norms do not fit.
    """
    if min(widths, default=0.0) < width:
        raise ConfigError(
            f"model.solver.receiver_widths: {list(widths)} Å; needed at least one, and none below "
            f"the width of the density, {width:g} Å, for which the k-vectors are chosen"
        )
    needed = len(widths) * (l_max + 1)
    if norms and (len(norms) != needed or min(norms) <= 0):
        raise ConfigError(
            f"model.solver.receiver_norms: {list(norms)}; needed {needed} positive numbers, one "
            "per width and order, or none"
        )
