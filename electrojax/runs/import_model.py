"""A model file of another code becomes a model.ejx."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electrojax.data.datasets import resolve_source
from electrojax.data.reader import read_frames
from electrojax.errors import ConfigError, ConvergenceError
from electrojax.interop import mace_checkpoint as checkpoint
from electrojax.interop.mace_torch import convert
from electrojax.models.bundle import load, save, save_heads
from electrojax.models.potential import Potential
from electrojax.runs.verify_import import TOLERANCES, UNITS, largest_differences
from electrojax.system.types import Frame
from electrojax.typing import Reporter

ALL_HEADS = "all"
SUFFIX = ".ejx"


def import_file(
    model: Path,
    output: Path,
    head: str,
    precision: str,
    trust: bool,
    report: Reporter,
    verify: str = "",
    frames: int = 10,
    tolerance: float = 0.0,
) -> None:
    """Writes a model of mace-torch as a model.ejx that predicts the same.

    Args:
        model: a model file: MACE, ScaleShiftMACE, MACELES or PolarMACE; or a model.ejx with several
            heads, of which one is taken out.
        output: the model.ejx to write.
        head: which head, of a model with several; ``all`` keeps them all.
        precision: ``stored`` for that of the file, ``float32`` or ``float64``.
        trust: whether the file may be opened, which can run any code of its author.
        report: receives a warning, and what a comparison gives.
        verify: structures on which torch is run beside the result: a file or ``builtin:NAME``.
        frames: how many of them, evenly spread.
        tolerance: largest difference that is allowed; 0 for that of the precision.

    Raises:
        ConfigError, DataError: if it is not trusted, not such a file, or has an option that is not
            supported; nothing is written then.
        ConvergenceError: if a difference is above the tolerance; nothing is written either.
    """
    if model.suffix == SUFFIX:
        _take_head(model, output, head, precision, verify)
        return
    structures = _spread(read_frames(resolve_source(verify)), frames) if verify else []
    if trust:
        report(f"warning: {checkpoint.DANGER}; opening {model}: --trust")
    module = checkpoint.open_model(model, trust)
    config, state = checkpoint.configuration(module), checkpoint.state_arrays(module)
    chosen = str(state["r_max"].dtype) if precision == "stored" else precision
    names = list(config["heads"]) if head == ALL_HEADS not in config["heads"] else [head]
    potentials = {name: convert(state, config, name, chosen) for name in names}
    allowed = tolerance or TOLERANCES[min(chosen, str(state["r_max"].dtype))]
    for name, potential in potentials.items() if structures else ():
        _verify(potential, module, structures, name, allowed, report)
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    source = {"file": model.name, "sha256": checksum, "head": head, "kind": config["kind"]}
    save_heads(potentials, output, {"imported": source})


def _take_head(model: Path, output: Path, head: str, precision: str, verify: str) -> None:
    """Writes one head of a model.ejx as a model.ejx of its own."""
    if verify or precision != "stored":
        raise ConfigError(
            f"{model}: is a {SUFFIX} already, of which only a head can be taken: no --verify and "
            "no --precision"
        )
    save(load(model, head=head), output, {"imported": {"file": model.name, "head": head}})


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Some of the structures, from the first to the last."""
    step = max(1, -(-len(frames) // count))
    return list(frames[::step])


def _verify(
    potential: Potential,
    module: Any,
    frames: Sequence[Frame],
    head: str,
    allowed: float,
    report: Reporter,
) -> None:
    found = largest_differences(potential, module, frames, head, report)
    of_head = f", head {head}" if head else ""
    report(f"largest differences from mace-torch in float64, {len(frames)} structures{of_head}:")
    for name, value in found.items():
        report(f"  {name:<13} {value:.1e} {UNITS[name]}")
    worst = max(found, key=lambda name: found[name])
    if not found[worst] <= allowed:
        raise ConvergenceError(
            f"{worst} differ from mace-torch by {found[worst]:.1e} {UNITS[worst]}, above the "
            f"tolerance {allowed:.0e}; nothing was written (--tolerance allows more)"
        )
