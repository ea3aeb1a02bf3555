"""Checkpoints of a trajectory: one archive of arrays and JSON each, whole or absent."""

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from electrojax.errors import DataError
from electrojax.files import DAMAGE, first_line, read_arrays, write_whole
from electrojax.simulation.engine import Engine, State
from electrojax.simulation.integrators import Motion

KEPT = 2
FORMAT = 2
MANIFEST = "manifest"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A trajectory as it stood between two steps.

    Attributes:
        arrays: the leaves of the state, by their path in it.
        manifest: plain data: ``step``, ``capacity``, ``marks`` of the files, ``identity``.
    """

    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]

    def state(self, engine: Engine) -> State:
        """Returns the state, for an engine of the same structure and ensemble.

        Raises:
            DataError: if the arrays do not fit.
        """
        motion = Motion(
            **{f.name: self.arrays.get(f".motion.{f.name}") for f in dataclasses.fields(Motion)}  # type: ignore[arg-type]
        )
        like = engine.abstract(motion, tuple(self.manifest["capacity"]))
        leaves, tree = jax.tree_util.tree_flatten_with_path(like)
        found = []
        for path, leaf in leaves:
            array = self.arrays.get(jax.tree_util.keystr(path))
            if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
                raise DataError(
                    f"checkpoint of step {self.manifest['step']}: "
                    f"{jax.tree_util.keystr(path)[1:]} does not fit this model and structure; "
                    "resume with what wrote it"
                )
            found.append(jax.numpy.asarray(array))
        return jax.tree_util.tree_unflatten(tree, found)


class CheckpointFolder:
    """The newest checkpoints of one run.

    Args:
        folder: made at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State, manifest: dict[str, Any]) -> None:
        """Writes a checkpoint and removes all but the newest ones.

        Raises:
            DataError: if it cannot be written; the earlier ones are intact.
        """
        leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(state))
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        plan, step = state.neighbors.plan, int(state.motion.step)
        content = {
            "format": FORMAT,
            "step": step,
            "capacity": list(plan.capacity),
            **manifest,
        }
        text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{MANIFEST: text}, **arrays)
        write_whole(self.folder / f"{step:012d}.npz", buffer.getvalue())
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """Returns the newest checkpoint, None if there is none.

        Raises:
            DataError: if it cannot be read.
        """
        for path in self._files():
            return _read(path)
        return None

    def _files(self) -> list[Path]:
        """Newest first. A file that a killed process was still writing has another name."""
        return sorted(self.folder.glob("[0-9]*.npz"), reverse=True)


def _read(path: Path) -> Checkpoint:
    hint = "delete it to resume from the checkpoint before"
    try:
        arrays = read_arrays(path)
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        if manifest["format"] == FORMAT:
            _check_counts(manifest)
    except DataError as error:
        raise DataError(f"{error}; {hint}") from error
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({first_line(error)}); {hint}") from error
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path}: checkpoint format {manifest.get('format')}, this version reads {FORMAT}; "
            "resume with the electrojax version that wrote it"
        )
    return Checkpoint(arrays, manifest)


def _check_counts(manifest: dict[str, Any]) -> None:
    """Raises a ValueError unless the step and the capacity are counts."""
    counts = (manifest["step"], *manifest["capacity"])
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("its step or capacity is no count")


def remove_stale(folder: Path) -> None:
    """Removes the temporary files of a process that was killed while writing into a folder."""
    for stale in folder.glob(".[0-9]*.npz.*"):
        os.unlink(stale)
