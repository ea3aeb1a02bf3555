"""Cube files and points for plots."""

import numpy as np
import pytest
from ase.io.cube import read_cube

from electrojax.analysis.fields import grid_points, line_points, plane_points, write_cube
from electrojax.errors import ConfigError, DataError
from electrojax.units import BOHR, HARTREE

CELL = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0, 0.5, 6.0]])


@pytest.mark.parametrize(("quantity", "unit"), [("potential", HARTREE), ("density", BOHR**-3)])
def test_ase_reads_a_cube_back(tmp_path, quantity, unit):
    values = np.random.default_rng(0).normal(size=(2, 3, 7))
    where = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    path = tmp_path / "a.cube"
    write_cube(path, [11, 17], where, CELL, values, quantity)
    with path.open() as stream:
        got = read_cube(stream)
    np.testing.assert_allclose(got["data"] * unit, values, rtol=1e-6)
    np.testing.assert_allclose(got["atoms"].positions, where, atol=1e-7)
    np.testing.assert_allclose(got["atoms"].cell.array, CELL, atol=1e-6)
    assert got["atoms"].numbers.tolist() == [11, 17]


def test_points():
    assert line_points([0, 0, 0], [0, 0, 2.0], 3).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    grid = grid_points(CELL, (2, 3, 4))
    plane = plane_points([0, 0, 0], CELL[0], CELL[1], (2, 3))
    np.testing.assert_allclose(plane, grid[:, :, 0])


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cube of"):
        write_cube(tmp_path / "a", [1], np.zeros((1, 3)), CELL, np.zeros((1, 1, 1)), "field")
    with pytest.raises(DataError, match="cube: needed"):
        write_cube(tmp_path / "a", [1, 2], np.zeros((1, 3)), CELL, np.zeros((1, 1, 1)))
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError, match="not parallel"):
        plane_points([0, 0, 0], CELL[0], CELL[0], (2, 3))
