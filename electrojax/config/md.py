"""The md file: its blocks, and how it is read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, ValidationError, model_validator

from electrojax.config.layers import find_file, read_layers
from electrojax.config.problems import config_error, schema_problems
from electrojax.config.resolve import Provenance, _absolute, _named
from electrojax.models.schema import KindOptions
from electrojax.sections import (
    FilePath,
    FolderName,
    Length,
    PossiblePath,
    Section,
    Seed,
    Steps,
    Temperature,
    misplaced,
)

FieldPart = Annotated[float, Field(ge=-1e3, le=1e3)]
"""V/Å; atoms are ionised at a few."""

Quantity = Literal[
    "positions",
    "velocities",
    "forces",
    "energy",
    "temperature",
    "dipole",
    "charges",
    "multipoles",
    "scf_steps",
]


class Folder(Section):
    """Where the results go."""

    name: FolderName = Field(
        description="name of the run folder; the file's own name where none is given",
    )
    dir: FilePath = Field(
        default="runs",
        description="folder that holds run folders; a relative path starts at this file, "
        "and the default at the current directory",
    )


class Nve(KindOptions):
    """Constant energy."""

    kind: Literal["nve"] = Field("nve", description="velocity Verlet at constant energy")


class NvtLangevin(KindOptions):
    """Constant temperature by friction and noise (BAOAB)."""

    kind: Literal["nvt_langevin"] = Field("nvt_langevin", description="friction and noise, BAOAB")
    temperature: Temperature = Field(description="K")
    friction: float = Field(default=1.0, ge=1e-9, le=1e6, description="1/ps")


class NvtNoseHoover(KindOptions):
    """Constant temperature by a Nosé–Hoover chain."""

    kind: Literal["nvt_nose_hoover"] = Field("nvt_nose_hoover", description="Nosé–Hoover chain")
    temperature: Temperature = Field(description="K")
    relaxation: float = Field(
        default=0.1, ge=1e-4, le=1e6, description="time constant of the chain, ps"
    )
    chain: int = Field(default=3, ge=1, le=100, description="thermostats in the chain")


class Neighbors(Section):
    """The neighbour list: rebuilt when needed, grown when too small."""

    skin: Length = Field(
        default=0.5, description="Å beyond the cutoff; larger: rebuilt less often, longer lists"
    )
    capacity: float = Field(
        default=1.3,
        ge=1,
        le=100,
        description="spare room in the list's arrays, which grow by themselves",
    )


class MdSolver(Section):
    """How the charge solver is run along a trajectory."""

    warm_start: Literal["none", "last", "extrapolate"] = Field(
        default="extrapolate",
        description="the density that an iterative solver starts from: none, that of the last "
        "step, or the polynomial through the last four (float32) or six (float64)",
    )


class Write(Section):
    """The trajectory and the log."""

    every: Steps = Field(default=100, description="steps between frames and lines of the log")
    path: PossiblePath = Field(
        default="trajectory.h5",
        pattern=r"\.(h5|hdf5|xyz|extxyz)$",
        description="a file ending in .h5, .hdf5, .xyz or .extxyz, inside the run folder unless "
        "the path is absolute",
    )
    quantities: Annotated[tuple[Quantity, ...], Strict(False)] = Field(
        default=("positions", "velocities", "energy", "temperature", "dipole", "charges"),
        description="what a frame holds; positions are always written, dipoles only for open "
        "boundaries",
    )


class Stop(Section):
    """When a trajectory is no longer worth continuing; the run then ends with exit code 3."""

    temperature: Temperature = Field(default=10_000.0, description="K, the highest allowed")
    unconverged: int = Field(
        default=10,
        ge=0,
        lt=2**31,
        description="steps in a row without solver convergence that are tolerated",
    )


class MdConfig(Section):
    """Everything that decides a trajectory."""

    run: Folder = Field(description="where results go")
    model: FilePath = Field(description="a model.ejx; relative to this file")
    start: FilePath = Field(
        description="a structure file that ASE reads, or builtin:NAME; relative to this file"
    )
    frame: int = Field(
        default=0,
        ge=-(10**9),
        le=10**9,
        description="which frame of it, from 0; -1 is the last one",
    )
    total_charge: Annotated[float, Field(ge=-1e4, le=1e4)] | None = Field(
        default=None, description="e; that of the start frame where not given"
    )
    multiplicity: Annotated[float, Field(ge=1, le=1e4)] | None = Field(
        default=None, description="2S+1; that of the start frame where not given"
    )
    external_field: Annotated[tuple[FieldPart, FieldPart, FieldPart], Strict(False)] | None = Field(
        default=None, description="V/Å; that of the start frame, or none, where not given"
    )
    initial_temperature: Annotated[float, Field(ge=0, le=1e9)] | None = Field(
        default=None,
        description="K of the velocities drawn at the start; where not given, the start frame's "
        "velocities, or else ensemble.temperature",
    )
    ensemble: Annotated[Nve | NvtLangevin | NvtNoseHoover, Field(discriminator="kind")] = Field(
        description="which quantities are constant, and how"
    )
    timestep: float = Field(default=0.5, ge=1e-6, le=1e3, description="fs")
    steps: Steps = Field(description="time steps of the whole trajectory")
    precision: Literal["float32", "float64"] | None = Field(
        default=None,
        description="of the forces; the model's own where not given. Positions and velocities are "
        "always integrated in float64",
    )
    remove_drift: bool | None = Field(
        default=None,
        description="take momentum, and the angular momentum of open structures, out of the first "
        "velocities; where not given: out of drawn ones (but for nvt_langevin, whose noise drives "
        "them), and velocities of the start frame stay as they are",
    )
    neighbors: Neighbors = Field(default_factory=Neighbors, description="the neighbour list")
    solver: MdSolver = Field(default_factory=MdSolver, description="the charge solver")
    write: Write = Field(default_factory=Write, description="the trajectory and the log")
    stop: Stop = Field(default_factory=Stop, description="when to give up")
    checkpoint_every: Steps = Field(default=5000, description="steps between checkpoints")
    seed: Seed = Field(default=0, description="of the initial velocities and of the noise")

    @model_validator(mode="after")
    def _cold_thermostat(self) -> "MdConfig":
        if self.initial_temperature == 0 and isinstance(self.ensemble, NvtNoseHoover):
            message = "a Nosé–Hoover chain cannot heat atoms at rest; give a temperature above 0"
            raise misplaced("initial_temperature", message)
        return self


@dataclass(frozen=True)
class LoadedMd:
    """A checked md file and where its values were written."""

    config: MdConfig
    provenance: Provenance
    files: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The run folder, ``{run.dir}/{run.name}``."""
        return Path(self.config.run.dir) / self.config.run.name

    @property
    def trajectory(self) -> Path:
        """The file of frames."""
        return self.folder / self.config.write.path


def load_md(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedMd:
    """Returns the configuration of an md file, with its includes and `--set` options.

    Args:
        path: the file, or the name of a shipped one, such as configs/md/quickstart.yaml.
        overrides: `section.key=value` texts, later ones win.

    Raises:
        ConfigError: one line for everything that is wrong.
    """
    file = find_file(path)
    document, files = read_layers(file, overrides)
    root = _absolute(_named(document, file), MdConfig)
    try:
        config = MdConfig.model_validate(root.plain())
    except ValidationError as error:
        raise config_error(schema_problems(error, root, MdConfig, False)) from None
    return LoadedMd(config, Provenance(root), tuple(item.path for item in files))
