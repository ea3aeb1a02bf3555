"""A data set as instructions: the file of a recipe, checked and turned into dataclasses."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml

from electrojax.errors import ConfigError

T = TypeVar("T")

EVALUATION_SPLITS = ("valid", "test")


@dataclass(frozen=True)
class LabelSettings:
    """Settings of the labels: tblite's accuracy factor, and the electronic temperature in K."""

    accuracy: float = 0.01
    electronic_temperature: float = 300.0


@dataclass(frozen=True)
class Limits:
    """What a frame must satisfy to be kept; see `electrojax.data.making.production.rejection`."""

    max_force: float
    fragment_gap: float
    fragment_charge: float
    attempts: int = 1


@dataclass(frozen=True)
class Dynamics:
    """Langevin MD: time step fs, hydrogen mass u, friction 1/fs, then steps."""

    timestep: float
    hydrogen_mass: float
    friction: float
    equilibration: int
    interval: int
    accuracy: float


@dataclass(frozen=True)
class FrameCounts:
    """Frames wanted from training trajectories, and from those of the evaluation splits."""

    train: int
    evaluation: int


@dataclass(frozen=True)
class Clusters:
    """MD of single clusters: compositions such as ``NaCl(H2O)3``, frames of each temperature."""

    frames: FrameCounts
    compositions: tuple[str, ...]


@dataclass(frozen=True)
class Separated:
    """A pair of clusters, the range of distances between their centres (Å), and how many frames."""

    parts: tuple[str, str]
    distance: tuple[float, float]
    frames: FrameCounts


@dataclass(frozen=True)
class Molecule:
    """A geometry to start from, for what `ase.build.molecule` does not know: ``["N 0 0 0", ...]``.

    The coordinates are in Å; the first atom bears the formal charge.
    """

    name: str
    atoms: tuple[str, ...]


@dataclass(frozen=True)
class SplitCounts:
    """A number for each split."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class Dimers:
    """Pairs such as ``NH4+|H2O`` that are pulled apart as rigid bodies; see `data.dimers`.

    Attributes:
        systems: the pairs.
        boundary: Å between the centres of mass; training and validation frames are nearer, test
            frames farther.
        farthest: Å, where each scan ends and the charges of its parts are checked.
        contact: share of the sum of the van der Waals radii that no two atoms of the parts
            fall below.
        scans: orientations of each pair; the test scans are the first training scans, carried on.
        distances: frames of each scan.
    """

    systems: tuple[str, ...]
    boundary: float
    farthest: float
    contact: float
    scans: SplitCounts
    distances: SplitCounts


NO_CLUSTERS = Clusters(FrameCounts(0, 0), ())
NO_DIMERS = Dimers((), 0, 0, 0, SplitCounts(0, 0, 0), SplitCounts(0, 0, 0))


@dataclass(frozen=True)
class Recipe:
    """A data set as instructions: what is sampled, at which temperatures (K), and what is kept.

    `field` is the range of strengths (V/Å) of the uniform electric fields in which the frames of
    `clusters` and `separated` are labelled, one of random direction for each; `evaluation` names
    the splits that their evaluation frames get in turn.
    """

    method: str
    seed: int
    labels: LabelSettings
    limits: Limits
    dynamics: Dynamics
    temperatures: tuple[float, ...]
    clusters: Clusters = NO_CLUSTERS
    separated: tuple[Separated, ...] = ()
    field: tuple[float, float] = (0.0, 0.0)
    evaluation: tuple[str, ...] = EVALUATION_SPLITS
    molecules: tuple[Molecule, ...] = ()
    dimers: Dimers = NO_DIMERS


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    folder = files("electrojax.data") / "recipes"
    return sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_recipe(path_or_name: str | Path) -> Recipe:
    """Return the recipe of a YAML file, or the one that ships under a name.

    Args:
        path_or_name: a path that ends in .yaml or .yml, or a name of `recipe_names`.

    Raises:
        ConfigError: no such recipe, not YAML, an unknown, missing or ill-typed key.
    """
    where = str(path_or_name)
    try:
        raw = yaml.safe_load(_recipe_text(where))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    recipe = _build(Recipe, raw, where, "recipe")
    _check(recipe, where)
    return recipe


def _check(recipe: Recipe, where: str) -> None:
    """Refuse what has the right type and no meaning."""
    for name in recipe.evaluation:
        if name not in EVALUATION_SPLITS:
            raise ConfigError(f'{where}: recipe.evaluation: needs valid and test, got "{name}"')
    if not recipe.evaluation or not recipe.temperatures:
        raise ConfigError(f"{where}: recipe: needs at least one temperature and evaluation split")
    if recipe.field[0] > recipe.field[1]:
        raise ConfigError(f"{where}: recipe.field: needs the weaker field first")
    dimers = recipe.dimers
    if dimers.systems and not dimers.boundary < dimers.farthest:
        raise ConfigError(f"{where}: recipe.dimers: needs boundary < farthest")
    if dimers.scans.test > dimers.scans.train:
        raise ConfigError(f"{where}: recipe.dimers.scans: needs no more test than train scans")


def _recipe_text(where: str) -> str:
    if not where.endswith((".yaml", ".yml")):
        names = recipe_names()
        if where not in names:
            near = get_close_matches(where, names, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ConfigError(
                f'no recipe named "{where}"{hint} there are: {", ".join(names)};'
                " or give the path of a .yaml file"
            )
        return (files("electrojax.data") / "recipes" / f"{where}.yaml").read_text()
    try:
        return Path(where).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{where}: the recipe cannot be read: {reason}") from None


def _build(kind: type[T], raw: Any, where: str, path: str) -> T:
    """Build the dataclass `kind` from plain YAML values, refusing what its fields do not name."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: {path}: needs a mapping, got {type(raw).__name__}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f'{where}: {path}: unknown key "{key}"; {hint}')
    missing = [n for n, field in known.items() if field.default is MISSING and n not in raw]
    if missing:
        raise ConfigError(f"{where}: {path}: missing {', '.join(missing)}")
    return kind(**{k: _convert(known[k].type, v, where, f"{path}.{k}") for k, v in raw.items()})


def _convert(kind: Any, raw: Any, where: str, path: str) -> Any:
    """Convert one YAML value to the type of its field."""
    if kind in (int, float, str):
        if isinstance(raw, bool) or not isinstance(raw, (int, float) if kind is float else kind):
            raise ConfigError(f"{where}: {path}: needs {kind.__name__}, got {raw!r}")
        if kind is not str and raw < 0:
            raise ConfigError(f"{where}: {path}: needs a number >= 0, got {raw!r}")
        return kind(raw)
    arguments = getattr(kind, "__args__", ())
    if not arguments:
        return _build(kind, raw, where, path)
    fixed = 0 if arguments[-1] is Ellipsis else len(arguments)
    if not isinstance(raw, list) or (fixed and len(raw) != fixed):
        raise ConfigError(f"{where}: {path}: needs a list of {fixed or 'items'}, got {raw!r}")
    return tuple(_convert(arguments[0], item, where, f"{path}.{i}") for i, item in enumerate(raw))
