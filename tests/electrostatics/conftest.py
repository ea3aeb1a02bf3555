"""Coulomb sums know no smallest distance: their test structures may have atoms in one place."""

import pytest


@pytest.fixture(autouse=True)
def atoms_in_one_place(monkeypatch):
    """Frames of users with such atoms are refused; see tests/models/test_predict.py."""
    monkeypatch.setattr("electrojax.system.batching.check_distances", lambda *arguments: None)
