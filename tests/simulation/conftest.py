"""A small model in a file, and md files for it."""

import jax
import numpy as np
import pytest

from electrojax.models import bundle
from electrojax.system.types import Frame
from tests.conformance.models import potential


def water(n: int = 2, seed: int = 0) -> Frame:
    """Returns a row of water-like molecules, loosely packed."""
    rng = np.random.default_rng(seed)
    shape = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])
    turns = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    centres = 3.0 * np.arange(n)[:, None, None] * np.array([1.0, 0.2, 0.1])
    positions = centres + np.einsum("ai,nij->naj", shape, turns)
    return Frame(np.tile([8, 1, 1], n), positions.reshape(-1, 3), np.zeros((3, 3)), (False,) * 3)


def atoms_of(frame: Frame, **info):
    """Returns a frame as ase.Atoms."""
    from ase import Atoms

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info.update(info)
    return atoms


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A light model with random parameters, whose solver conserves the total charge."""
    path = tmp_path_factory.mktemp("model") / "model.ejx"
    with jax.enable_x64(True):
        bundle.save(potential("light", "local", "float64"), path)
    return path


@pytest.fixture
def md_file(tmp_path, model_file):
    """Writes md files that start from two waters and returns their path."""
    import ase.io

    ase.io.write(tmp_path / "start.xyz", atoms_of(water(), total_charge=0.0))

    def write(name: str = "run", **changes):
        keys = {
            "run": f"{{name: {name}, dir: runs}}",
            "model": str(model_file),
            "start": "start.xyz",
            "ensemble": "{kind: nvt_langevin, temperature: 300}",
            "timestep": 0.05,
            "steps": 30,
            "write": "{every: 10, path: frames.xyz, quantities: [velocities, energy, charges]}",
            "checkpoint_every": 20,
            "seed": 3,
            **changes,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text("".join(f"{k}: {v}\n" for k, v in keys.items() if v is not None))
        return path

    return write
