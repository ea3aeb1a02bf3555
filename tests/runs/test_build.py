"""Models that are built from Python, held to what a training file is held to."""

import dataclasses

import numpy as np
import pytest

from electrojax.errors import DataError
from electrojax.runs.build import build_model
from tests.simulation.conftest import water

SECTION = {
    "backbone": {"kind": "light", "channels": 4, "layers": 1, "states": ["total_charge"]},
    "solver": {"kind": "none"},
}


def labelled(index: int):
    """Two waters with energy and forces, the first of which names its total charge."""
    frame = water(index + 1)
    labels = {"energy": np.asarray(-1.0), "forces": np.zeros((len(frame.numbers), 3))}
    given = frozenset({"total_charge"}) if index == 0 else frozenset()
    return dataclasses.replace(frame, labels=labels, given=given, source=f"frame {index}")


@pytest.mark.filterwarnings("ignore:the training compositions")
def test_structures_must_give_what_the_backbone_embeds() -> None:
    with pytest.raises(DataError, match="frame 1: gives no total_charge, which the model embeds"):
        build_model(SECTION, [labelled(0), labelled(1)])
    assert build_model(SECTION, [labelled(0)]).params
