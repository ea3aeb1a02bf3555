"""The Coulomb section and the losses and schedules of a stage: what is taken and what refused."""

import pytest
from pydantic import ValidationError

from electrojax.config.schema import Coulomb, Stage
from electrojax.electrostatics.coulomb import FINITE_SIZE, PERIODIC_METHODS
from electrojax.system.quantities import REQUIRES


def test_every_method_and_correction_of_the_tables_can_be_written():
    for method in ("auto", *PERIODIC_METHODS):
        assert Coulomb(method=method).method == method
    for correction in ("none", *FINITE_SIZE):
        assert Coulomb(finite_size=correction).finite_size == correction
    assert Coulomb(counter_charge="jellium", counter_heights=[8.0, 9.5]).counter_heights[1] == 9.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "fmm"}, "method"),
        ({"finite_size": "makov_payne", "boundary": "slab"}, 'boundary "slab"; use none'),
        ({"method": "mesh", "accuracy": 1e-12}, "no mesh reaches 1e-12"),
        ({"counter_charge": "plane"}, 'counter_charge "plane" needs 1 number, got 0'),
        ({"counter_heights": [1.0]}, 'counter_charge "none" needs 0 numbers, got 1'),
        ({"counter_charge": "jellium", "counter_heights": [2.0, 1.0]}, "lower bound must be below"),
        (
            {"counter_charge": "plane", "counter_heights": [9.0], "boundary": "periodic"},
            'plane has no meaning with boundary "periodic"',
        ),
        ({"accuracy": 0.5}, "less than or equal to 0.1"),
    ],
)
def test_what_cannot_be_summed_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Coulomb(**given)


def test_every_loss_can_be_written():
    stage = Stage(epochs=1, loss=dict.fromkeys(REQUIRES, 1.0))
    assert stage.loss.model_dump() == dict.fromkeys(stage.loss.model_dump(), 1.0)
    assert set(stage.loss.model_dump()) == set(REQUIRES)


def test_schedules():
    stage = Stage(epochs=2, schedule="exponential", warmup=0.1, final=0.2)
    assert (stage.schedule, stage.warmup, stage.final) == ("exponential", 0.1, 0.2)
    with pytest.raises(ValidationError, match="warmup"):
        Stage(epochs=2, warmup=1.0)
