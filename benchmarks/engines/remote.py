"""An engine in a process of its own, as the suite sees it."""

import contextlib
import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # compiling is measured
    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", ""),
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # e3nn 0.4.4 reads its own constants the old way
    "PYTHONWARNINGS": "ignore",
}


class EngineError(Exception):
    """An engine could not do what it was asked for; the text says why."""


class Remote:
    """One engine's process.

    Args:
        name: of the engine.
        python: its interpreter.
        threads: how many cores it may use; 0 for all.
        whole_device: whether it may take all of a GPU's memory at its start.
    """

    def __init__(self, name: str, python: str, threads: int = 0, whole_device: bool = False):
        self.name = name
        self.log = tempfile.NamedTemporaryFile("w+", suffix=f"-{name}.log")  # noqa: SIM115
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.engines.worker", name, str(threads)],
            cwd=ROOT,
            env=_environment(threads, whole_device),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        # If memory ends, this process is to go, not its neighbours.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("1000")

    def ask(self, do: str, timeout: float = 900.0, **arguments: Any) -> dict[str, Any]:
        """Returns the answer to one request.

        Args:
            do: name of the request, a method of ``worker.Worker``.
            timeout: seconds after which the process is ended.
            arguments: of the request.

        Raises:
            EngineError: if the process fails, ends or is too slow.
        """
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise EngineError(self._end("ended")) from None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        if not ready:
            raise EngineError(self._end(f"no answer within {timeout:.0f} s"))
        line = self.process.stdout.readline()
        if not line:
            raise EngineError(self._end("ended"))
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def _end(self, what: str) -> str:
        self.process.kill()
        code = self.process.wait()
        lines = Path(self.log.name).read_text().strip().splitlines()
        return f"{what} (exit {code}): {lines[-1][:300] if lines else 'no word of why'}"


@contextlib.contextmanager
def started(*arguments: Any, **options: Any) -> Iterator[Remote]:
    """Gives an engine's process and ends it in the end."""
    remote = Remote(*arguments, **options)
    try:
        yield remote
    finally:
        remote.close()


def _environment(threads: int, whole_device: bool) -> dict[str, str]:
    here = dict(os.environ)
    settings = {k: v for k, v in SETTINGS.items() if v}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), here.get("PYTHONPATH")]))
    settings["XLA_PYTHON_CLIENT_PREALLOCATE"] = str(whole_device).lower()
    settings["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.95"
    if threads:
        settings |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return here | settings
