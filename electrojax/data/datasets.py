"""The data sets that come with the package."""

import dataclasses
import difflib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from electrojax.errors import ConfigError, DataError

PREFIX = "builtin:"


@dataclasses.dataclass(frozen=True)
class BuiltinSet:
    """A data set inside the package.

    Attributes:
        file: extxyz in the folder ``builtin``; a JSON file of the same name stands beside it.
        description: what it holds, in a line.
        level: the method that labelled it.
        license: under which it may be used.
    """

    file: str
    description: str
    level: str
    license: str


BUILTIN: dict[str, BuiltinSet] = {
    "ion_water": BuiltinSet(
        file="ion_water.xyz.gz",
        description="400 clusters of water with Na+ and Cl-, charges -1 to +1, 6 to 20 atoms: "
        "energy, forces, dipole, charges, multipoles, Fermi level",
        level="GFN1-xTB",
        license="MIT, made by this project",
    ),
    "charged_dimers": BuiltinSet(
        file="charged_dimers.xyz.gz",
        description="578 pairs of ions and polar molecules, charges -1 to +2, 3 to 18 atoms, "
        "pulled apart: train and valid below 7 Å, test 7 to 15 Å; labels as ion_water",
        level="GFN1-xTB",
        license="MIT, made by this project",
    ),
    "field_clusters": BuiltinSet(
        file="field_clusters.xyz.gz",
        description="360 clusters of water, also with Na+ or Cl-, charges -1 to +1, 3 to 19 atoms, "
        "in electric fields up to 0.5 V/Å; labels as ion_water",
        level="GFN1-xTB",
        license="MIT, made by this project",
    ),
}
"""Built-in data sets by name."""


def builtin_path(name: str) -> Path:
    """Returns the file of a built-in data set.

    Raises:
        ConfigError: if there is none of that name.
    """
    return _folder() / _entry(name).file


def resolve_source(source: str) -> Path:
    """Returns the file that ``builtin:NAME`` or a path stands for.

    Raises:
        ConfigError: if there is no built-in set of that name.
    """
    if source.startswith(PREFIX):
        return builtin_path(source.removeprefix(PREFIX))
    return Path(source).expanduser()


def atom_energies(name: str) -> dict[str, float]:
    """Returns the energies of the isolated atoms at the level of a built-in set, eV by symbol.

    Raises:
        ConfigError: if there is no built-in set of that name.
        DataError: if the installed package is damaged.
    """
    return {symbol: float(energy) for symbol, energy in _metadata(name, "atom_energies").items()}


def split_sizes(name: str) -> dict[str, int]:
    """Returns the number of frames of each stored split of a built-in set: train, valid, test.

    Raises:
        ConfigError: if there is no built-in set of that name.
        DataError: if the installed package is damaged.
    """
    sizes = _metadata(name, "splits")
    return {split: int(sizes[split]) for split in ("train", "valid", "test")}


def _metadata(name: str, key: str) -> dict[str, Any]:
    path = _folder() / f"{_entry(name).file.removesuffix('.xyz.gz')}.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())[key]
        return values
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: is missing or damaged ({error}); install again") from None


def _folder() -> Path:
    return Path(str(files("electrojax.data"))) / "builtin"


def _entry(name: str) -> BuiltinSet:
    if name in BUILTIN:
        return BUILTIN[name]
    near = difflib.get_close_matches(name, BUILTIN, n=1)
    hint = f'did you mean "{PREFIX}{near[0]}"?' if near else f"built in: {', '.join(BUILTIN)}"
    raise ConfigError(f'"{PREFIX}{name}" is not a built-in data set; {hint}')
