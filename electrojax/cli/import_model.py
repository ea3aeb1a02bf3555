"""electrojax import: a model of mace-torch becomes a model.ejx."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def import_model(
    model: Annotated[
        Path, typer.Argument(help="A model of mace-torch: MACE, ScaleShiftMACE, PolarMACE.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model.ejx to write.")],
    head: Annotated[str, typer.Option(help="Which head, of a model with several.")] = "",
    precision: Annotated[
        Literal["stored", "float32", "float64"], typer.Option(help="Of parameters and predictions.")
    ] = "stored",
    trust: Annotated[
        bool, typer.Option("--trust", help="Open the file, which may run any code of its author.")
    ] = False,
) -> None:
    """Turn a model of mace-torch into a model.ejx that predicts the same."""
    import hashlib
    import sys

    from electrojax.interop import mace_checkpoint as checkpoint
    from electrojax.interop.mace_torch import convert
    from electrojax.models.bundle import save

    if trust:
        print(f"warning: {checkpoint.DANGER}; opening {model}: --trust", file=sys.stderr)
    module = checkpoint.open_model(model, trust)
    config, state = checkpoint.configuration(module), checkpoint.state_arrays(module)
    chosen = str(state["r_max"].dtype) if precision == "stored" else precision
    potential = convert(state, config, head, chosen)
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    source = {"file": model.name, "sha256": checksum, "head": head, "kind": config["kind"]}
    save(potential, output, {"imported": source})
    print(f"{model} -> {output}")
