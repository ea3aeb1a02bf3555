"""Small tables and a complete file, so that these tests need neither jax nor the real modules."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from electrojax.config.kinds import Tables


def option(default: Any, text: str, **limits: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": text, **limits})


@dataclasses.dataclass
class Mace:
    """A network of many-body messages."""

    cutoff: float = option(5.0, "reach of an edge, Å", positive=True)
    layers: int = option(2, "number of layers", minimum=1, maximum=4)
    readout: tuple[int, ...] = option((16,), "widths of the readout")
    radial: str = option("bessel", "radial basis", choices=("bessel", "gaussian"))
    species: tuple[int, ...] = dataclasses.field(default=(1,), metadata={"config": False})


@dataclasses.dataclass
class Light:
    """A small network."""

    cutoff: float = option(4.0, "reach of an edge, Å", positive=True)
    channels: int = option(16, "channels", positive=True)


class Solver:
    """What a solver says of itself by default."""

    provides: ClassVar[tuple[str, ...]] = ()
    diagnoses: ClassVar[tuple[str, ...]] = ()
    gradients: ClassVar[tuple[str, ...]] = ("implicit",)


@dataclasses.dataclass
class NoCharges(Solver):
    """No charges."""


@dataclasses.dataclass
class Scf(Solver):
    """Charges iterated to self-consistency.

    A second paragraph that no summary shows.
    """

    provides: ClassVar[tuple[str, ...]] = ("charges", "dipole")

    mixing: Literal["linear", "anderson"] = option("anderson", "mixing scheme")
    tolerance: float = option(1e-5, "largest residual, e", positive=True)
    implicit: bool = option(True, "whether gradients are implicit")


@pytest.fixture
def tables() -> Tables:
    return Tables({"mace": Mace, "light": Light}, {"none": NoCharges, "scf": Scf})


RUN = """\
run: {name: water, seed: 7}
data:
  train: {path: water.xyz}
  valid: {path: water.xyz, fraction: 0.1}
  keys:
    forces: REF_force
model:
  backbone: {kind: light, cutoff: 4.5}
  solver:
    kind: scf
    tolerance: 1e-6
train:
  stages:
    - {name: warm, epochs: 3, loss: {energy: 1, forces: 10}}
    - {name: closed, epochs: 4, learning_rate: 2e-3}
"""


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete training file in the current directory, named without its folder."""
    monkeypatch.chdir(tmp_path)
    path = Path("run.yaml")
    path.write_text(RUN)
    return path
