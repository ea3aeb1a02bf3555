"""Learned numbers per element, and what the periodic table says of charges before training."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.system.types import System
from electrojax.typing import Array

ELEMENTS = 119
"""Length of a table by atomic number."""

CHARGE_PER_ELECTRONEGATIVITY = 0.2
"""e, of the charges before training: that of O less that of H is then −0.25 e."""

DRIVE_PER_ELECTRONEGATIVITY = 3.0
"""eV per unit of Pauling's scale, as of Mulliken's electronegativities (S. G. Bratsch, J. Chem.
Educ. 65, 34 (1988))."""

_CARBON = 2.55
_PAULING = """
H 2.20 Li 0.98 Be 1.57 B 2.04 C 2.55 N 3.04 O 3.44 F 3.98 Na 0.93 Mg 1.31 Al 1.61 Si 1.90 P 2.19
S 2.58 Cl 3.16 K 0.82 Ca 1.00 Sc 1.36 Ti 1.54 V 1.63 Cr 1.66 Mn 1.55 Fe 1.83 Co 1.88 Ni 1.91 Cu 1.90
Zn 1.65 Ga 1.81 Ge 2.01 As 2.18 Se 2.55 Br 2.96 Kr 3.00 Rb 0.82 Sr 0.95 Y 1.22 Zr 1.33 Nb 1.60
Mo 2.16 Tc 1.90 Ru 2.20 Rh 2.28 Pd 2.20 Ag 1.93 Cd 1.69 In 1.78 Sn 1.96 Sb 2.05 Te 2.10 I 2.66
Xe 2.60 Cs 0.79 Ba 0.89 La 1.10 Ce 1.12 Pr 1.13 Nd 1.14 Sm 1.17 Gd 1.20 Dy 1.22 Ho 1.23 Er 1.24
Tm 1.25 Lu 1.27 Hf 1.30 Ta 1.50 W 2.36 Re 1.90 Os 2.20 Ir 2.20 Pt 2.28 Au 2.54 Hg 2.00 Tl 1.62
Pb 2.33 Bi 2.02 Po 2.00 At 2.20 Ra 0.90 Ac 1.10 Th 1.30 Pa 1.50 U 1.38 Np 1.36 Pu 1.28
"""
"""A. L. Allred, J. Inorg. Nucl. Chem. 17, 215 (1961), as in the CRC Handbook, section 9."""


class ElementTable(nn.Module):
    """One learned number per element.

    Attributes:
        initial: its value before training, of every element or by atomic number.
    """

    initial: float | tuple[float, ...]

    @nn.compact
    def __call__(self, system: System, dtype: jnp.dtype) -> Array:
        """Returns the number at every atom [N]; padding has that of element 0."""
        start = starting_at(self.initial)
        table = self.param("table", start, (ELEMENTS,), dtype)
        return jnp.asarray(table)[system.numbers]


def starting_at(values: float | tuple[float, ...]) -> Callable[..., Array]:
    """Returns an initialiser of a table by atomic number."""

    def start(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jnp.broadcast_to(jnp.asarray(values, dtype), shape)

    return start


def electropositivities(scale: float) -> tuple[float, ...]:
    """Returns scale × (χ(C) − χ) by atomic number, χ on Pauling's scale; 0 where it has no value.

    Energies and forces without a field are even in the charges: their sign must be given at the
    start, or dipoles are learned upside down as easily as upright.
    """
    from ase.data import atomic_numbers

    words = _PAULING.split()
    table = np.zeros(ELEMENTS)
    for symbol, value in zip(words[::2], words[1::2], strict=True):
        table[atomic_numbers[symbol]] = scale * (_CARBON - float(value))
    return tuple(table.tolist())
