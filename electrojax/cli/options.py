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

PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE:CLASS",
        help="A solver or backbone that is not electrojax's own nor installed; may be repeated.",
    ),
]
