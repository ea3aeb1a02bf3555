"""Checkpoints of a training run, written with orbax: whole or not at all, the last ones kept."""

import dataclasses
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import DataError
from electrojax.files import DAMAGE
from electrojax.training.position import Position, Snapshot
from electrojax.training.step import TrainState

KEPT = 2
"""Checkpoints that stay; each also holds the best parameters so far."""


class CheckpointStore:
    """The checkpoints of one run, in one folder, named by the step they were taken at.

    Orbax writes each into a temporary folder that it renames when complete: a run that is killed
    while saving resumes from the checkpoint before. Saving is synchronous, so that a checkpoint is
    on disk when ``save`` returns.

    Args:
        folder: where they are kept, such as ``runs/water/checkpoints``; made at the first save.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder).absolute()
        self._open: Any = None

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager().latest_step() if self.folder.is_dir() else None

    def save(self, snapshot: Snapshot) -> None:
        """Writes a checkpoint; one that exists for the same step is left as it is.

        Raises:
            DataError: if it cannot be written; earlier checkpoints stay.
        """
        import orbax.checkpoint as ocp

        step = snapshot.position.step
        try:
            if step in self._manager().all_steps():
                return
            arrays = _arrays(snapshot.state, snapshot.best)
            _check_room(self.folder, arrays)
            with _quiet():
                self._manager().save(
                    step,
                    args=ocp.args.Composite(
                        arrays=ocp.args.StandardSave(arrays),
                        position=ocp.args.JsonSave(snapshot.position.plain()),
                    ),
                )
                self._manager().wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self.folder}/{step}: the checkpoint could not be written ({_first(error)}); "
                "earlier ones are intact, free some space and resume"
            ) from error

    def restore(self, like: TrainState) -> Snapshot:
        """Returns the newest checkpoint, for :func:`electrojax.training.loop.fit` to go on from.

        Args:
            like: a fresh state of the same model and optimizer; it is not changed.

        Raises:
            DataError: if there is none, or it does not fit the model and optimizer.
        """
        import orbax.checkpoint as ocp

        step = self.latest
        if step is None:
            raise DataError(f"{self.folder}: holds no checkpoint; start the run without --resume")
        wanted = jax.tree.map(_abstract, _arrays(like, like.ema))
        try:
            found = self._manager().restore(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardRestore(wanted), position=ocp.args.JsonRestore()
                ),
            )
            return _snapshot(jax.tree.map(np.asarray, found.arrays), found.position, step)
        except DAMAGE as error:
            raise DataError(
                f"{self.folder}/{step}: does not fit this model and optimizer, or is damaged "
                f"({_first(error)}); resume with the configuration that wrote it"
            ) from error

    def close(self) -> None:
        """Releases what orbax holds."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _manager(self) -> Any:
        if self._open is None:
            # Imported here: it takes most of a second that other verbs need not wait for.
            import orbax.checkpoint as ocp

            self._open = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=KEPT,
                    create=True,
                    cleanup_tmp_directories=True,
                    enable_async_checkpointing=False,
                ),
            )
        return self._open


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax from logging the traceback of an error that is raised, and told, anyway."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _snapshot(arrays: dict[str, Any], plain: dict[str, Any], step: int) -> Snapshot:
    """The content of a checkpoint.

    Raises:
        ValueError: if an element is not finite, or the position is none or of another step.
    """
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(arrays)):
        raise ValueError("its numbers are not all finite")
    position = Position.from_plain(plain)
    if position.step != step:
        raise ValueError(f"its position is that of step {position.step}")
    best = arrays.pop("best")
    return Snapshot(TrainState(**arrays), best, position)


def _arrays(state: TrainState, best: Any) -> dict[str, Any]:
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    return {**fields, "best": best}


def _check_room(folder: Path, arrays: Any) -> None:
    """Raises the OSError of a full disk before orbax can meet it.

    Its writers are threads that outlive the error and print tracebacks of their own.
    """
    leaves = jax.tree.leaves(arrays)
    # Measured: up to 1 KiB of metadata per array, and a dozen files that begin a block each.
    needed = sum(leaf.nbytes for leaf in leaves) + 1024 * len(leaves) + 65_536
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    values = jnp.asarray(leaf)
    return jax.ShapeDtypeStruct(values.shape, values.dtype, sharding=values.sharding)


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
