"""The run folder: what a training run leaves, beside its checkpoints and metrics."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from electrojax.config.resolve import resolved_yaml
from electrojax.config.schema import RunConfig
from electrojax.data.datasets import resolve_source
from electrojax.errors import DataError
from electrojax.files import first_line, read_mapping, write_whole
from electrojax.locking import LOCK, lock_folder
from electrojax.models.former import completed
from electrojax.runs.build import Job
from electrojax.runs.check import coulomb_sums

PACKAGES = ("jax", "jaxlib", "flax", "optax", "e3nn-jax", "numpy", "ase", "orbax-checkpoint")


@contextmanager
def run_folder(job: Job, resume: bool) -> Iterator[bool]:
    """Holds the run folder for this process, with the configuration and environment written in it.

    Args:
        job: the run.
        resume: whether an existing folder may be continued.

    Returns:
        Whether the folder existed, and so may hold a checkpoint.

    Raises:
        DataError: if it exists and ``resume`` is false, holds another run, or another process is
            using it; nothing is changed then, and no folder is left behind.
    """
    folder = job.folder
    _check_unused(folder, resume)
    made = _make(folder)
    try:
        with lock_folder(folder):
            _check_unused(folder, resume)  # another process may have finished a run meanwhile
            existed = _prepare(job)
            made = False
            yield existed
    finally:
        if made:
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


def _check_unused(folder: Path, resume: bool) -> None:
    if resume or not folder.exists():
        return
    if not folder.is_dir() or any(entry.name != LOCK for entry in folder.iterdir()):
        raise DataError(
            f"{folder}: exists already; continue it with --resume auto, or choose another run.name"
        )


def _make(folder: Path) -> bool:
    """Makes the folder unless it exists; returns whether it was made."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}); choose another run.dir or run.name"
        ) from error
    return True


def _prepare(job: Job) -> bool:
    """Writes configuration and environment; returns whether a run was there already."""
    folder, now = job.folder, environment(job)
    existed = os.path.lexists(folder / "resolved.yaml")
    if existed:
        _check_same(job, folder)
        check_same_data(now["data"], folder / "environment.json")
    write_whole(folder / "config.yaml", job.run.files[0].read_bytes())
    write_whole(folder / "environment.json", (json.dumps(now, indent=1) + "\n").encode())
    write_whole(folder / "resolved.yaml", resolved_yaml(job.run.config).encode())
    return existed


def environment(job: Job) -> dict[str, Any]:
    """Returns versions, devices, commit, command line, Coulomb sums and data files' SHA-256."""
    return {
        **software(),
        "data": data_digests(job.run.config),
        "coulomb": coulomb_sums(job),
        "warnings": list(job.warnings),
    }


def _check_same(job: Job, folder: Path) -> None:
    """A resumed run must be the same run, epochs apart."""
    path = folder / "resolved.yaml"
    old = read_mapping(path)
    new = yaml.safe_load(resolved_yaml(job.run.config))
    try:
        before = {**_what_decides(old), "model": completed(old["model"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is damaged (holds no training run: {first_line(error)}); "
            "choose another run.name"
        ) from error
    for section, value in _what_decides(new).items():
        if before.get(section) != value:
            raise DataError(
                f"{folder}: was run with another `{section}` section (its resolved.yaml tells); "
                "resume with the same configuration, or choose another run.name"
            )


def _what_decides(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a configuration without what a resumed run may change."""
    train = {k: v for k, v in plain["train"].items() if k not in ("checkpoint", "max_unconverged")}
    train["stages"] = [
        {key: value for key, value in stage.items() if key != "epochs"} for stage in train["stages"]
    ]
    run = {key: plain["run"][key] for key in ("seed", "precision")}
    return {k: v for k, v in {**plain, "train": train, "run": run}.items() if k != "loggers"}


def check_same_data(
    now: Mapping[str, str], path: Path, otherwise: str = "choose another run.name"
) -> None:
    """Checks that a run goes on with the files that it read before, wherever they are now.

    Args:
        now: SHA-256 by path.
        path: the run's environment.json; where there is none, nothing was trained.
        otherwise: what else can be done, for the error.

    Raises:
        DataError: a file is another one, or environment.json is damaged.
    """
    if not os.path.lexists(path):
        return
    before = read_mapping(path).get("data")
    if not isinstance(before, dict) or not all(isinstance(v, str) for v in before.values()):
        raise DataError(f"{path}: is damaged (data: needed a SHA-256 by file); {otherwise}")
    changed = [p for p, digest in now.items() if digest not in before.values()]
    if changed:
        raise DataError(
            f"{changed[0]}: is not the file that {path.parent} was trained on (its SHA-256 "
            f"changed); restore it, or {otherwise}"
        )


def data_digests(config: RunConfig) -> dict[str, str]:
    """Returns the SHA-256 of every data file of a run, by path."""
    data = config.data
    sources = [source.path for source in (data.train, data.valid, data.test) if source is not None]
    paths = sorted({str(resolve_source(path)) for path in sources})
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def software() -> dict[str, Any]:
    """Returns versions, commit, platform, devices and the command line of this process."""
    import jax

    from electrojax import __version__

    return {
        "electrojax": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "command": sys.argv,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """The commit of the source tree that runs, if it is one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
