"""The public names: loaded on first use, and known to editors and type checkers."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import electrojax as ej

PACKAGE = Path(ej.__file__).parent


def test_the_stub_names_what_the_package_loads():
    stub = (PACKAGE / "__init__.pyi").read_text()
    lines = re.findall(r"^from (\S+) import (\w+)(?: as (\w+))?$", stub, re.M)
    stubbed = {name or attribute: (module, attribute) for module, attribute, name in lines}
    for name, place in ej._PUBLIC.items():
        module, _, attribute = place.partition(":")
        if not attribute:
            module, _, attribute = module.rpartition(".")
        assert stubbed.pop(name) == (module, attribute)
    assert not stubbed
    assert all(hasattr(ej, name) for name in ej.__all__)


def test_wrong_attributes_do_not_pass_a_type_checker(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import electrojax as ej\n"
        "model: ej.Potential = ej.load('model.ejx')\n"
        "folder = ej.simulate('md.yaml', ['steps=10']).name.upper()\n"
        "error = ej.train('run.yaml').metrics['test/forces_rmse'] + 1.0\n"
        "ej.load('model.ejx').no_such_thing\n"
        "ej.train(3)\n"
    )
    mypy = shutil.which("mypy", path=sysconfig.get_path("scripts"))
    found = subprocess.run(
        [mypy, "--config-file", PACKAGE.parent / "pyproject.toml", script],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    wrong = re.findall(r"script\.py:(\d+): error", found.stdout)
    assert wrong == ["5", "6"], found.stdout + found.stderr
