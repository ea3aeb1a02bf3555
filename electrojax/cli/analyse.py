"""electrojax analyse: structure factor, permittivity, spectrum and conductivity of a trajectory."""

from pathlib import Path
from typing import Annotated

import typer


def analyse(
    trajectory: Annotated[Path, typer.Argument(help="HDF5 of electrojax, or what ASE reads.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of plots and numbers.")],
    temperature: Annotated[float, typer.Option(help="K.", min=1e-9)],
    do: Annotated[
        list[str],
        typer.Option(help="structure-factor, dielectric, infrared, conductivity; repeatable."),
    ],
    k_max: Annotated[float, typer.Option(help="Longest k-vector, 1/Å.", min=1e-9)] = 1.0,
    charge: Annotated[
        list[str] | None, typer.Option(metavar="ELEMENT=Q", help="Formal charge, e.")
    ] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="First and last lag of the fit, fs.")
    ] = None,
    boundary: Annotated[str, typer.Option(help="tin-foil or vacuum.")] = "tin-foil",
    optical: Annotated[float, typer.Option(help="Electronic permittivity ε∞.", min=1.0)] = 1.0,
) -> None:
    """Analyse a trajectory: plots with errors, CSV and JSON in a folder."""
    from electrojax.errors import ConfigError
    from electrojax.runs.analyse import Settings, analyse_trajectory

    charges = {}
    for text in charge or []:
        element, _, value = text.partition("=")
        try:
            charges[element] = int(value)
        except ValueError:
            raise ConfigError(f"--charge {text}: needed ELEMENT=INTEGER, as Na=1") from None
    if boundary not in ("tin-foil", "vacuum"):
        raise ConfigError(f"--boundary {boundary}: needed tin-foil or vacuum")
    settings = Settings(temperature, k_max, charges, window, boundary, optical)
    analyse_trajectory(trajectory, do, settings, output)
    print(f"wrote {output}")
