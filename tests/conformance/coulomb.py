"""Models that sum the Coulomb energy in another way."""

from typing import Any

from electrojax.models.potential import Potential, assemble


def summed(model: Potential, **options: Any) -> Potential:
    """Returns the model with other options in its coulomb section; its parameters are kept."""
    config = {**model.config, "coulomb": {**model.config["coulomb"], **options}}
    return assemble(config, model.statistics, model.precision, model.params)
