"""The canary for the jaxlib CPU miscompile, and the refusal of bad versions."""

import importlib.metadata
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import versions


@pytest.mark.parametrize("rows", [16_384, 16_385, 40_000])
def test_vmapped_matvec_then_reduction_is_right(x64, rows):
    """The pattern that jaxlib 0.10.2 gets wrong from 16 385 rows in float64 (jax issue 39103)."""
    rng = np.random.default_rng(0)
    matrices, vectors = rng.normal(size=(rows, 3, 3)), rng.normal(size=(rows, 3))
    total = jax.jit(lambda m, v: jnp.sum(jax.vmap(lambda a, b: a @ b)(m, v), axis=0))
    expected = np.einsum("nij,nj->i", matrices, vectors)
    np.testing.assert_allclose(total(matrices, vectors), expected, rtol=1e-9)


@pytest.mark.parametrize("bad", sorted(versions.BAD_VERSIONS))
def test_bad_version_is_refused(monkeypatch, bad):
    monkeypatch.setattr(versions, "version", lambda package: bad)
    with pytest.raises(ImportError, match="wrong numbers.*pip install"):
        versions.check_versions()


def test_missing_package_is_named():
    with pytest.raises(ImportError, match="no-such-distribution"):
        versions.check_versions(("no-such-distribution",))


def test_requirements_exclude_the_bad_versions():
    requirements = importlib.metadata.requires("electrojax") or []
    for package in ("jax", "jaxlib"):
        line = next(r for r in requirements if r.split(">")[0].split("!")[0] == package)
        assert all(f"!={bad}" in line for bad in versions.BAD_VERSIONS)


def test_import_is_light_and_changes_nothing():
    """Importing the package neither loads jax nor switches x64 on."""
    code = (
        "import sys, electrojax; assert 'jax' not in sys.modules;"
        "import jax; assert not jax.config.jax_enable_x64; electrojax.coulomb_energy;"
        "assert not jax.config.jax_enable_x64"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
