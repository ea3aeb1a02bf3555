"""The guide "from mace-torch": every command in it, as printed and in order."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import ase.io
import pytest

from electrojax.interop import mace_checkpoint as checkpoint
from electrojax.runs import verify_import
from tests.interop.mace_golden import read, structure

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "from_mace_torch.md"
MODELS = {"mace.model": "correlation2-l1", "heads.model": "two-heads"}


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Puts models and structures where the guide has them; golden files stand for torch."""
    arrays = {name: read(case) for name, case in MODELS.items()}
    for name in MODELS:
        (tmp_path / name).write_bytes(b"stands for it")
    ase.io.write(tmp_path / "structures.xyz", structure(arrays["mace.model"][0]))
    found = {k: arrays["mace.model"][0][k] for k in ("energy", "forces", "stress")}
    found["energy"] = float(found["energy"])
    monkeypatch.setattr(
        checkpoint, "open_model", lambda path, trust: SimpleNamespace(name=Path(path).name)
    )
    monkeypatch.setattr(checkpoint, "configuration", lambda module: arrays[module.name][2])
    monkeypatch.setattr(checkpoint, "state_arrays", lambda module: arrays[module.name][1])
    monkeypatch.setattr(verify_import, "reference", lambda *args: iter([found]))
    monkeypatch.chdir(tmp_path)


def test_every_command_of_the_guide_runs_as_printed(electrojax, files, tmp_path):
    commands = _commands()
    assert {command[1] for command in commands} == {"import", "info", "evaluate"}
    for program, *arguments in commands:
        assert program == "electrojax"
        result = electrojax(*arguments)
        assert result.code == 0, (arguments, result.err)
        if "-o" in arguments:
            assert (tmp_path / arguments[arguments.index("-o") + 1]).stat().st_size > 0


def test_the_options_that_the_guide_names_exist():
    from electrojax.nn.mace import Mace
    from electrojax.solvers.latent import LatentCharges

    text = GUIDE.read_text()
    for module, names in (
        (Mace, ("interaction", "edge_channels", "first_edge_channels", "species_products",
                "state_classes", "state_lowest", "cutoff_on", "normalization", "zbl")),
        (LatentCharges, ("readout", "remove_mean", "energy_factor")),
    ):  # fmt: skip
        for name in names:
            assert f"`{name}" in text and hasattr(module, name)
