"""Signals that Python drops are not lost."""

import os
import signal
import sys

import pytest

from electrojax.interruption import Interruption, StartUp


class Collected:
    """Gets a signal while it is being collected, where exceptions are ignored."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs between two bytecodes
            pass


def test_a_signal_whose_exception_was_dropped_stops_the_run_that_follows(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: dropped.append(event.exc_type))
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with StartUp():
        Collected()
        assert dropped == [KeyboardInterrupt]
        with Interruption() as interruption:
            assert interruption.requested and not interruption.forced
    with Interruption() as interruption:
        assert not interruption.requested
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_outside_of_a_run_both_signals_act_as_ctrl_c():
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt), StartUp():
            os.kill(os.getpid(), number)
            for _ in range(1000):
                pass
