"""The training file as typed, frozen blocks: every key, its type, default, unit and meaning."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from electrojax.config.labels import key_fields, loss_fields, metric_pattern
from electrojax.models.schema import Coulomb, Density, KindOptions, Model
from electrojax.sections import (
    FilePath,
    FolderName,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    misplaced,
)
from electrojax.system.quantities import INPUTS, LABELS, QUANTITIES

__all__ = [
    "Coulomb",
    "DataSource",
    "Density",
    "FilePath",
    "KindOptions",
    "Label",
    "Model",
    "PositiveFloat",
    "PositiveInt",
    "RunConfig",
    "Section",
    "Stage",
    "Train",
    "misplaced",
]

if TYPE_CHECKING:
    Label = str
else:
    Label = Literal[(*LABELS, *INPUTS)]


class Run(Section):
    """Where the results go, and what makes the run repeatable."""

    name: FolderName = Field(
        description="name of the run folder; the file's own name where none is given",
    )
    dir: FilePath = Field(
        default="runs",
        description="folder that holds run folders; a relative path starts at this file, "
        "and the default at the current directory",
    )
    seed: Seed = Field(
        default=0, description="seed of the initial parameters, splits and shuffling"
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="dtype of the parameters and of the computation"
    )


class DataSource(Section):
    """One set of structures."""

    path: FilePath = Field(
        description="extxyz (.gz too) or HDF5 file, or builtin:NAME; relative to this file"
    )
    fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of the frames, drawn with run.seed; in valid and test these frames "
        "leave train when the path is the same; all frames where not given",
    )
    split: Literal["train", "valid", "test"] | None = Field(
        default=None, description="the stored split of that name; the whole file where not given"
    )

    def overlaps(self, other: "DataSource") -> bool:
        """Returns whether both draw from the same frames of the same file."""
        same_split = self.split is None or other.split is None or self.split == other.split
        return self.path == other.path and same_split


class Keys(key_fields(QUANTITIES.values())):  # type: ignore[misc]
    """The names in the data file of the labels and of the inputs that a frame carries."""


class AtomEnergies(Section):
    """The energies of isolated atoms that are taken off before the network sees an energy."""

    mode: Literal["least_squares", "given", "isolated"] = Field(
        default="least_squares",
        description="least_squares fits one energy per element to the training set, as the "
        "smallest correction to `given`; given takes them as they are; isolated takes those of the "
        "open one-atom frames of the training file, and of `given` for other elements",
    )
    given: dict[str, Annotated[float, Field(ge=-1e7, le=1e7)]] = Field(
        default={},
        description="energy of the isolated atom by element, eV; alone it implies mode given",
    )

    @model_validator(mode="before")
    @classmethod
    def _given_alone(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("given") and "mode" not in data:
            return {**data, "mode": "given"}
        return data

    @model_validator(mode="after")
    def _known_elements(self) -> Self:
        from ase.data import atomic_numbers

        for symbol in self.given:
            if atomic_numbers.get(symbol, 0) < 1:
                raise misplaced(f"given.{symbol}", f'"{symbol}" is not the symbol of an element')
        if self.mode == "given" and not self.given:
            raise misplaced("mode", "given needs the energies: given: {H: -13.6, ...} in eV")
        return self


class Batching(Section):
    """How many structures are computed at once, and in how many array shapes."""

    edges: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None,
        description="most edges (neighbour pairs) in a batch; no bound where not given",
    )
    graphs: PositiveInt | None = Field(
        default=None, description="most structures in a batch; 8 where neither bound is given"
    )
    buckets: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="array shapes that batches are padded to; each is compiled once",
    )

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("edges") is None and data.get("graphs") is None:
            return {**data, "graphs": 8}
        return data


class Data(Section):
    """The structures to learn from, and how their files are read."""

    train: DataSource = Field(description="the training set")
    valid: DataSource | None = Field(
        default=None, description="watched during training, never fitted"
    )
    test: DataSource | None = Field(default=None, description="evaluated once, at the end")
    keys: Keys = Field(default_factory=Keys, description="label names in the files")
    require: Annotated[tuple[Label, ...], Strict(False)] = Field(
        default=("energy", "forces"), description="labels that every frame must have"
    )
    atom_energies: AtomEnergies = Field(
        default_factory=AtomEnergies, description="energies of isolated atoms"
    )
    batching: Batching = Field(default_factory=Batching, description="size of a batch")

    @model_validator(mode="after")
    def _no_leak(self) -> Self:
        held_out = {name: source for name in ("valid", "test") if (source := getattr(self, name))}
        for name, source in held_out.items():
            if source.overlaps(self.train) and (source.fraction or 1.0) == 1.0:
                message = "these are the training frames; give a smaller fraction or another split"
                raise misplaced(f"{name}.path", message)
        shares = [s.fraction or 1.0 for s in held_out.values() if s.overlaps(self.train)]
        if sum(shares) >= 1.0:
            raise misplaced("test.fraction", "valid and test leave no frames to train on")
        return self


class Loss(loss_fields(QUANTITIES.values())):  # type: ignore[misc]
    """Weights of the terms of the loss; a term with weight 0 is off, a missing label is masked."""

    @model_validator(mode="after")
    def _some_term(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise misplaced("", "every weight is 0; give at least one, such as forces: 10")
        return self


class Stage(Section):
    """A stretch of training with one learning rate schedule and one loss."""

    name: str = Field(
        default="train",
        min_length=1,
        max_length=200,
        description="name of the stage in logs and plots",
    )
    epochs: PositiveInt = Field(description="passes over the training set")
    learning_rate: float = Field(default=0.01, ge=1e-9, le=1e3, description="largest step size")
    schedule: Literal["constant", "cosine", "exponential"] = Field(
        default="cosine",
        description="cosine and exponential lower the learning rate to its `final` share",
    )
    warmup: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the stage over which the rate first rises linearly to learning_rate",
    )
    final: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="last learning rate of the stage over learning_rate",
    )
    gradient: Literal["implicit", "direct", "unroll"] = Field(
        default="implicit",
        description="of solver scf in this stage; direct: one update of the labels' density; "
        "unroll: through some updates; implicit: at the solution, as in evaluation and MD",
    )
    loss: Loss = Field(
        default_factory=lambda: Loss(energy=1.0, forces=10.0), description="weights of the loss"
    )


class Optimizer(Section):
    """The gradient step."""

    name: Literal["adam", "adamw"] = Field(
        default="adam", description="adamw also decays the weights"
    )
    clip: PositiveFloat | None = Field(
        default=10.0,
        description="largest norm of the gradient, longer ones are shortened; null: no limit",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=1e3, description="decay rate of the weights, adamw only"
    )

    @model_validator(mode="after")
    def _decay_needs_adamw(self) -> Self:
        if self.weight_decay and self.name != "adamw":
            raise misplaced("weight_decay", f"{self.name} has no weight decay; use name: adamw")
        return self


class Checkpoint(Section):
    """How often the state is saved, so that an interrupted run can be resumed."""

    every_epochs: PositiveInt = Field(default=10, description="epochs between checkpoints")
    every_minutes: PositiveFloat = Field(default=10.0, description="minutes between checkpoints")


class EarlyStop(Section):
    """Ends a stage that no longer improves."""

    metric: str = Field(
        default="valid/loss",
        pattern=metric_pattern(QUANTITIES.values()),
        description="the quantity that must fall: valid/loss or valid/QUANTITY_rmse, _mae",
    )
    patience: PositiveInt = Field(description="epochs without improvement before the stage ends")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Train(Section):
    """How the parameters are fitted."""

    FLAT: ClassVar[tuple[str, ...]] = tuple(Stage.model_fields)

    stages: Annotated[tuple[Stage, ...], BeforeValidator(_as_tuple)] = Field(
        min_length=1,
        description="stages run in order; the keys of a single one may stand directly under train",
    )
    optimizer: Optimizer = Field(default_factory=Optimizer, description="gradient step")
    ema: float = Field(
        default=0.99, ge=0, lt=1, description="decay of the running mean of the parameters; 0: off"
    )
    max_unconverged: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="a larger share of an epoch's structures that the solver leaves unconverged "
        "ends the run",
    )
    checkpoint: Checkpoint = Field(
        default_factory=Checkpoint, description="when the state is saved"
    )
    early_stop: EarlyStop | None = Field(
        default=None, description="ends a stage early; off by default"
    )

    @classmethod
    def suggestions(cls) -> list[str]:
        """Returns the keys that may stand in the block, those of a single stage included."""
        return [*cls.model_fields, *cls.FLAT]


class RunConfig(Section):
    """Everything that decides the outcome of a training run.

    The types of `loggers` are narrowed to the known kinds by `kinds.run_schema`.
    """

    run: Run = Field(description="where results go; seed and precision")
    data: Data = Field(description="structures and labels")
    model: Model = Field(description="the potential")
    train: Train = Field(description="how the parameters are fitted")
    loggers: Annotated[tuple[KindOptions, ...], Strict(False)] = Field(
        default=("jsonl",),
        validate_default=True,
        min_length=1,
        description="where metrics go: names, or blocks with the kind and its options",
    )

    @model_validator(mode="after")
    def _watched_set(self) -> Self:
        if self.train.early_stop and not self.data.valid:
            raise misplaced("train.early_stop", "needs a validation set: give data.valid")
        return self
