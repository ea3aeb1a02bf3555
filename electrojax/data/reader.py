"""Labelled structures from any file that holds them, by its suffix."""

import os
from collections.abc import Mapping, Sequence

from electrojax.data import extxyz, hdf5, trajectories
from electrojax.data.datasets import resolve_source
from electrojax.errors import ConfigError
from electrojax.system.types import Frame


def read_frames(
    path: str | os.PathLike,
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Returns every structure of a file with its labels and inputs, in file order.

    Args:
        path: HDF5 if it ends in .h5 or .hdf5, structures or a trajectory of ``electrojax md``;
            else extxyz, gzipped or not; or ``builtin:NAME``.
        keys: an extxyz file's name of each label and input; HDF5 has fixed names.
        require: labels or inputs that every structure must have.
        where: the place in a configuration where an option was written; messages point there.

    Raises:
        ConfigError: if ``keys`` or ``require`` name a quantity that does not exist, or ``keys``
            rename one of an HDF5 file.
        DataError: if the file is missing, damaged or empty, lacks what is required, or holds a
            value that has a wrong shape or is not finite.
    """
    path = resolve_source(os.fspath(path))
    if not hdf5.is_hdf5(path):
        return extxyz.read_frames(path, keys, require, where)
    if trajectories.is_trajectory(path):
        return trajectories.read_trajectory(path, keys, require)
    return hdf5.read_hdf5(path, keys, require, where)


def read_frame(path: str | os.PathLike, index: int) -> Frame:
    """Returns one structure of a file, counted from 0 or, if negative, from the end.

    Raises:
        DataError: if the file is missing or damaged.
        IndexError: if there is no frame of that index.
    """
    if hdf5.is_hdf5(path) and trajectories.is_trajectory(path):
        return trajectories.read_trajectory(path, index=index)[0]
    return read_frames(path)[index]


def other_names(path: str | os.PathLike, keys: Mapping[str, str] | None = None) -> list[str]:
    """Returns the names in a file that stand for no label, input, split or tag with these keys."""
    if not hdf5.is_hdf5(path):
        return extxyz.unread_names(path, keys)
    if trajectories.is_trajectory(path):
        return trajectories.other_quantities(path, keys or {})
    return hdf5.unread_names(path)


def parse_keys(texts: Sequence[str]) -> dict[str, str]:
    """Returns the names of labels in a file, by label, from ``LABEL=NAME`` texts.

    Raises:
        ConfigError: if a text is not of that form.
    """
    parsed = {}
    for text in texts:
        label, equals, name = text.partition("=")
        if not (label and equals and name):
            raise ConfigError(f'--key "{text}": needed LABEL=NAME, such as energy=REF_energy')
        parsed[label] = name
    return parsed
