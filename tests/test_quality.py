"""The repository's own rules: style, types, import order, size of files, forbidden things."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "electrojax").rglob("*.py"))


def run(*command: str) -> None:
    program = shutil.which(command[0], path=sysconfig.get_path("scripts"))
    assert program, f"{command[0]} is not installed; pip install '.[test]'"
    result = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=["lint", "format", "types", "imports"],
)
def test_tools_are_green(command):
    run(*command)


def test_files_stay_readable():
    long = {str(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert not long, long
    assert len((ROOT / "electrojax/__init__.py").read_text().splitlines()) <= 40


def test_no_pickle_and_no_unsafe_yaml():
    for path in SOURCES:
        text = path.read_text()
        forbidden = r"^\s*(import|from) pickle|yaml\.(load|unsafe_load)\("
        assert not re.search(forbidden, text, re.M), path
        assert "allow_pickle=True" not in text, path


def test_ci_runs_the_readme_test_command():
    readme = (ROOT / "README.md").read_text()
    command = "pip install '.[test]' && pytest -n 2"
    assert command in readme
    assert command in (ROOT / ".ci/run").read_text()


def test_every_verb_is_in_the_readme_and_no_other():
    readme = (ROOT / "README.md").read_text()
    command = [sys.executable, "-m", "electrojax.cli", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^[│ ]+([a-z]+) {2,}", help_text.split("Commands")[1], re.M))
    commands = re.findall(r"^```\n(.*?)^```|(?<!`)`(electrojax [^`\n]*)`", readme, re.M | re.S)
    mentioned = set(
        re.findall(r"(?:^|&& )electrojax ([a-z]+)", "\n".join(map("\n".join, commands)), re.M)
    )
    assert {"train", "evaluate"} <= verbs
    assert verbs <= mentioned, f"not in the README: {verbs - mentioned}"
    assert mentioned <= verbs, f"in the README, but no command: {mentioned - verbs}"
