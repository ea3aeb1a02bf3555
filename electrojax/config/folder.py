"""The run folder: what a training run leaves, beside its checkpoints and metrics."""

import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from electrojax.config.build import Job
from electrojax.config.resolve import resolved_yaml
from electrojax.data.datasets import resolve_source
from electrojax.errors import DataError
from electrojax.files import write_whole

PACKAGES = ("jax", "jaxlib", "flax", "optax", "e3nn-jax", "numpy", "ase", "orbax-checkpoint")


def prepare_folder(job: Job, resume: bool) -> bool:
    """Writes the configuration and the environment into the run folder.

    Args:
        job: the run.
        resume: whether an existing folder may be continued.

    Returns:
        Whether the folder existed, and so may hold a checkpoint.

    Raises:
        DataError: if it exists and ``resume`` is false; nothing is changed then.
    """
    folder = job.folder
    existed = (folder / "resolved.yaml").exists()
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise DataError(
            f"{folder}: exists already; continue it with --resume auto, or choose another run.name"
        )
    if existed:
        _check_same(job, folder)
    write_whole(folder / "config.yaml", job.run.files[0].read_bytes())
    write_whole(folder / "resolved.yaml", resolved_yaml(job.run.config).encode())
    write_whole(
        folder / "environment.json", (json.dumps(environment(job), indent=1) + "\n").encode()
    )
    return existed


def environment(job: Job) -> dict[str, Any]:
    """Returns versions, devices, commit, command line and the SHA-256 of every data file."""
    import jax

    from electrojax import __version__

    paths = {str(resolve_source(p)) for p in _data_paths(job)}
    return {
        "electrojax": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "command": sys.argv,
        "data": {p: hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in sorted(paths)},
        "warnings": list(job.warnings),
    }


def _check_same(job: Job, folder: Path) -> None:
    """A resumed run must be the same run, epochs apart."""
    import yaml

    old = yaml.safe_load((folder / "resolved.yaml").read_text())
    new = yaml.safe_load(resolved_yaml(job.run.config))
    for plain in (old, new):
        plain["train"].pop("checkpoint", None)
        plain.pop("run", None)
        plain.pop("loggers", None)
        for stage in plain["train"]["stages"]:
            stage.pop("epochs", None)
    for section in new:
        if old.get(section) != new[section]:
            raise DataError(
                f"{folder}: was run with another `{section}` section (its resolved.yaml tells); "
                "resume with the same configuration, or choose another run.name"
            )


def _data_paths(job: Job) -> list[str]:
    data = job.run.config.data
    return [s.path for s in (data.train, data.valid, data.test) if s is not None]


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
