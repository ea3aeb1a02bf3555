"""Coulomb engines, one file per boundary and way to sum."""
