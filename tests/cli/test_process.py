"""What the command line sets for its process before anything is computed."""

import os

import pytest

from electrojax import cli


@pytest.mark.parametrize("before", [None, "--xla_cpu_enable_fast_math=false"])
def test_compilation_on_gpus_is_short_unless_the_user_has_flags_of_his_own(before, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", before or "restored in the end")
    if not before:
        monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr("sys.argv", ["electrojax", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ["XLA_FLAGS"] == (before or cli.FAST_COMPILATION)
