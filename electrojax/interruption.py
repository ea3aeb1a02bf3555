"""SIGINT and SIGTERM as a flag, so that a run stops between two steps and can be resumed."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalContext:
    """A context in which both signals go to ``_receive``, and afterwards to whom they went before.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __enter__(self) -> Self:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._receive) for s in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


class StartUp(SignalContext):
    """A context around the whole of a run, in which the first signal only leaves a mark.

    A KeyboardInterrupt may come at a place where Python drops it (a callback of the garbage
    collector, while a program is compiled) or remembers it until the exit (code made by ``exec``).
    So the first signal is noted, for :meth:`check` and for the :class:`Interruption` that starts
    later, and the second one stops at once.
    """

    came = False

    def __enter__(self) -> Self:
        StartUp.came = False
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        StartUp.came = False
        super().__exit__(kind, error, traceback)

    @staticmethod
    def check() -> None:
        """Raises a KeyboardInterrupt if a signal has come; called where nothing can be lost."""
        if StartUp.came:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        StartUp.check()
        StartUp.came = True


class Interruption(SignalContext):
    """A context in which the first signal sets a flag and the second one stops at once.

    An exception in the middle of a step would lose its donated state, hence the flag.

    Attributes:
        requested: whether a signal has come.
        forced: whether a second one has.
    """

    def __init__(self) -> None:
        self.requested = False
        self.forced = False

    def __enter__(self) -> Self:
        super().__enter__()
        self.requested = self.requested or (bool(self._previous) and StartUp.came)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self.forced = True
            raise KeyboardInterrupt
        self.requested = True
