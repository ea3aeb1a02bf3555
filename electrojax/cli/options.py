"""Options that several verbs share."""

from typing import Annotated

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key, such as train.stages.0.epochs=2; may be repeated.",
    ),
]
