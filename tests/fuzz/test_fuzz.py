"""Whatever is read: success, or exit code 2 with one line; never a traceback, a hang or a death.

A failure names its seed and index; the input lies in the folder that it names, or is made again by
``make_case(seed, index, Originals.made(folder))``.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fuzz import pool, worker
from tests.fuzz.cases import Originals, make_case
from tests.fuzz.pool import faults

FAST, SLOW = 200, 10_000


def test_two_hundred_inputs(tmp_path: Path) -> None:
    assert not faults(tmp_path, 20261130, FAST)


@pytest.mark.slow
def test_ten_thousand_inputs(tmp_path: Path) -> None:
    assert not faults(tmp_path, 17, SLOW)


def test_a_seed_and_an_index_make_the_same_input(tmp_path: Path) -> None:
    good = Originals.made(tmp_path)
    for index in range(60):
        assert make_case(1, index, good).arguments == make_case(1, index, good).arguments
    verbs = {make_case(1, index, good).arguments[0] for index in range(200)}
    assert verbs == {"check", "data", "info", "load", "load_md", "load_sweep"}


def test_tracebacks_exit_codes_and_files_left_behind_are_seen(tmp_path: Path, monkeypatch) -> None:
    def wrong(arguments: tuple[str, ...]) -> int:
        match arguments[0]:
            case "traceback":
                raise TypeError("no message of ours")
            case "silent":
                return 2
            case "half":
                Path(".out.xyz.tmp").write_text("1\n")
                print("error: wrong", file=sys.stderr)
                return 2
        return int(arguments[0])

    monkeypatch.setattr(worker, "ended", wrong)
    monkeypatch.chdir(tmp_path)
    for argument, word in (
        ("traceback", "TypeError"),
        ("silent", "without a message"),
        ("half", "left behind"),
        ("1", "exit code 1"),
    ):
        assert word in worker.tried(tmp_path, (argument,), set())
    (tmp_path / ".out.xyz.tmp").unlink()
    assert worker.tried(tmp_path, ("0",), set()) == ""


def test_deaths_and_hangs_are_seen(tmp_path: Path, monkeypatch) -> None:
    command = (sys.executable, "-c", "print('{}', flush=True); input(); input()")
    dying = pool.Worker(tmp_path / "dying", command)
    os.kill(dying.process.pid, signal.SIGSEGV)
    assert "died" in dying.run(1, 0) and not dying.alive
    hanging = pool.Worker(tmp_path / "hanging", command)
    os.kill(hanging.process.pid, signal.SIGSTOP)
    monkeypatch.setattr(pool, "SECONDS", 0.05)
    assert "no answer" in hanging.run(1, 0) and not hanging.alive
