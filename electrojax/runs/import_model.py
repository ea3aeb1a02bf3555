"""A model file of another code becomes a model.ejx."""

import hashlib
from pathlib import Path

from electrojax.interop import mace_checkpoint as checkpoint
from electrojax.interop.mace_torch import convert
from electrojax.models.bundle import save
from electrojax.typing import Reporter


def import_file(
    model: Path, output: Path, head: str, precision: str, trust: bool, report: Reporter
) -> None:
    """Writes a model of mace-torch as a model.ejx that predicts the same.

    Args:
        model: a model file: MACE, ScaleShiftMACE or PolarMACE.
        output: the model.ejx to write.
        head: which head, of a model with several.
        precision: ``stored`` for that of the file, ``float32`` or ``float64``.
        trust: whether the file may be opened, which can run any code of its author.
        report: receives a warning.

    Raises:
        ConfigError, DataError: if it is not trusted, not such a file, or has an option that is not
            supported.
    """
    if trust:
        report(f"warning: {checkpoint.DANGER}; opening {model}: --trust")
    module = checkpoint.open_model(model, trust)
    config, state = checkpoint.configuration(module), checkpoint.state_arrays(module)
    chosen = str(state["r_max"].dtype) if precision == "stored" else precision
    potential = convert(state, config, head, chosen)
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    source = {"file": model.name, "sha256": checksum, "head": head, "kind": config["kind"]}
    save(potential, output, {"imported": source})
