"""Names that files use for quantities, and names that mean something else."""

import pytest

from electrojax.system.names import near_quantity
from electrojax.system.quantities import DEFAULT_KEYS


@pytest.mark.parametrize(
    ("name", "quantity"),
    [("charge", "total_charge"), ("Total-Charge", "total_charge"), ("spin", "multiplicity"),
     ("total_chrage", "total_charge"), ("dft_forces", "forces"), ("energy", "energy"),
     ("REF_dipoles", "dipole"), ("efield", "external_field"), ("E_field", "external_field"),
     ("bec", "born_charges"), ("charges", "charges"), ("REF_virial", "virial"),
     ("source_index", None), ("config_type", None), ("distance", None),
     ("REF_quadrupole", "quadrupole"),
     ("REF_charges_hirshfeld", None), ("temperature", None), ("ref", None), ("", None)],
)  # fmt: skip
def test_what_a_name_probably_stands_for(name, quantity):
    assert near_quantity(name, DEFAULT_KEYS) == quantity


def test_only_the_asked_quantities_are_proposed():
    assert near_quantity("charge", ["multiplicity", "energy"]) is None
