"""How a simulation is going: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from electrojax.progress import clock_time, open_bar

SECONDS_PER_DAY = 86_400.0


class Progress:
    """Shows steps, temperature, energy, ns/day and the time that is left.

    Args:
        steps: of the whole simulation.
        timestep: fs.
        stream: where to; standard error unless given.
        interval: seconds between plain lines.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        steps: int,
        timestep: float,
        stream: TextIO | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._timestep = steps, timestep
        self._stream, self._interval, self._clock = stream or sys.stderr, interval, clock
        self._bar: Any = None
        self._first: tuple[int, float] | None = None
        self._started = 0
        self._shown = -float("inf")

    def start(self, step: int) -> None:
        """Opens the bar, if this is a terminal."""
        self._started = step
        if self._stream.isatty():
            self._bar = open_bar(self._stream, remaining=False)
            self._task = self._bar.add_task(
                "md", total=self._steps, completed=step, detail="compiling"
            )

    def update(self, step: int, temperature: float, energy: float) -> None:
        """Shows where the simulation stands.

        Args:
            step: steps taken.
            temperature: K.
            energy: kinetic and potential together, eV.
        """
        now = self._clock()
        # The pace is counted from the first report after compiling.
        if self._first is None and step > self._started:
            self._first = step, now
        detail = f"{temperature:.0f} K  {energy:.4f} eV  {self._pace(step, now)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, detail=detail)
        elif now - self._shown >= self._interval or step == self._steps:
            self._shown = now
            print(f"step {step}/{self._steps}  {detail}", file=self._stream, flush=True)

    def close(self) -> None:
        """Gives the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _pace(self, step: int, now: float) -> str:
        first, begin = self._first or (step, now)
        if step <= first or now <= begin:
            return "compiling"
        rate = (step - first) / (now - begin)
        ns_per_day = rate * self._timestep * 1e-6 * SECONDS_PER_DAY
        left = clock_time((self._steps - step) / rate)
        return f"{rate:.3g} steps/s  {ns_per_day:.3g} ns/day  {left} left"
