"""Whatever is read: success, or exit code 2 with one line; never a traceback, a hang or a death.

A failure names its seed and index; the input lies in the folder that it names, or is made again by
``make_case(seed, index, Originals.made(folder))``.
"""

from pathlib import Path

import pytest

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
