"""The package of somebody else in tests/plugin, installed and uninstalled."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "plugin"
MODULE = "electrojax_even"


def install(folder: Path) -> Path:
    """Returns a folder with the package and its metadata, as setuptools installs it.

    pip does the same, but needs the package wheel to do it offline with older setuptools.
    """
    source = shutil.copytree(SOURCE, folder / "source")
    site = folder / "site-packages"
    site.mkdir()
    commands = ["build_py", "--build-lib", str(site), "egg_info", "--egg-base", str(site)]
    subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", *commands],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    return site


def uninstalled(site: Path, folder: Path) -> Path:
    """Returns a folder with the package's modules alone: importable, yet not installed."""
    shutil.copytree(site / MODULE, folder / MODULE)
    return folder


def put_on_path(monkeypatch: pytest.MonkeyPatch, site: Path | None) -> None:
    """Makes the package importable from a folder, or from none, for one test."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    if site is not None:
        monkeypatch.syspath_prepend(site)
