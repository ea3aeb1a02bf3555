"""Signals that come before a run has started."""

import os
import signal

import pytest

from electrojax.interruption import Interruption, StartUp


def deliver(number):
    """Sends a signal to this process and waits until its handler has run."""
    os.kill(os.getpid(), number)
    for _ in range(1000):  # handlers run between two bytecodes
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_stops_it_at_its_first_check(number):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with StartUp():
        deliver(number)
        with Interruption() as interruption:
            assert interruption.requested and not interruption.forced
        with pytest.raises(KeyboardInterrupt):
            StartUp.check()
        with pytest.raises(KeyboardInterrupt):
            deliver(number)
    with Interruption() as interruption:
        assert not interruption.requested
    StartUp.check()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
