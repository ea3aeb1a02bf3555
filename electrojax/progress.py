"""The bar that training and molecular dynamics show on a terminal."""

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


def open_bar(stream: TextIO, remaining: bool) -> "Progress":
    """Returns a bar that runs on a terminal; its tasks have a field ``detail``.

    Args:
        stream: the terminal.
        remaining: whether it estimates the time that is left by itself.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
    ]
    if remaining:
        columns.append(TimeRemainingColumn())
    bar = Progress(*columns, console=Console(file=stream), refresh_per_second=4)
    bar.start()
    return bar


def clock_time(seconds: float) -> str:
    """Returns a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
