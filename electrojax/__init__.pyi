"""The public names for editors and type checkers; ``__init__.py`` loads the same on first use."""

from electrojax import analysis as analysis
from electrojax import testing as testing
from electrojax.data.reader import read_frames as read_frames
from electrojax.electrostatics.energy import coulomb_energy as coulomb_energy
from electrojax.errors import ElectrojaxError as ElectrojaxError
from electrojax.models.bundle import load as load
from electrojax.models.bundle import save as save
from electrojax.models.potential import Potential as Potential
from electrojax.models.predict import predict as predict
from electrojax.runs.build import build_model as build_model
from electrojax.runs.evaluate import evaluate_frames as evaluate
from electrojax.runs.md import run_md as simulate
from electrojax.runs.train import run_training as train
from electrojax.simulation import jaxmd as jaxmd
from electrojax.simulation.ase import Calculator as Calculator
from electrojax.system.types import Frame as Frame

__version__: str

__all__ = [
    "Calculator",
    "ElectrojaxError",
    "Frame",
    "Potential",
    "__version__",
    "analysis",
    "build_model",
    "coulomb_energy",
    "evaluate",
    "jaxmd",
    "load",
    "predict",
    "read_frames",
    "save",
    "simulate",
    "testing",
    "train",
]
