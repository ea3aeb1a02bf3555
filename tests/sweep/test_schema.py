"""What a sweep file may say of executors."""

from typing import Any

import pytest
from pydantic import ValidationError

from electrojax.sweep.schema import LocalExecutor, SlurmExecutor


def local(**options: Any) -> LocalExecutor:
    return LocalExecutor.model_validate({"kind": "local", **options})


@pytest.mark.parametrize("address", ["127.0.0.1:8787", "localhost:0", "[::1]:8787", "127.8.0.1:1"])
def test_a_dashboard_on_this_machine(address: str) -> None:
    assert local(dashboard=address).dashboard == address


@pytest.mark.parametrize("address", [":8799", "0.0.0.0:8799", "[::]:80", "10.0.0.1:80", "host:80"])
def test_a_dashboard_beyond_it_must_be_asked_for(address: str) -> None:
    with pytest.raises(ValidationError, match="public_dashboard: true"):
        local(dashboard=address)
    assert local(dashboard=address, public_dashboard=True).dashboard == address


@pytest.mark.parametrize("address", ["", "8787", "localhost", "127.0.0.1:70000", "127.0.0.1:x"])
def test_what_is_no_address(address: str) -> None:
    for public in (False, True):
        with pytest.raises(ValidationError, match="HOST:PORT"):
            local(dashboard=address, public_dashboard=public)


def test_only_commands_have_several_lines() -> None:
    job = {"kind": "slurm", "jobs": 1, "interface": "ib0"}
    assert SlurmExecutor.model_validate({**job, "prologue": ["if a\nthen\n\tb\nfi"]})
    for options in ({"interface": "a\nb"}, {"directives": ["a\nb"]}, {"queue": "a\tb"}):
        with pytest.raises(ValidationError, match="one line of visible text"):
            SlurmExecutor.model_validate({**job, **options})
    with pytest.raises(ValidationError):
        SlurmExecutor.model_validate({**job, "prologue": ["a\x1bb"]})
