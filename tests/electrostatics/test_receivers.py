"""Potentials averaged over receivers of other widths, at the atoms."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.engines.mesh import MeshCoulomb
from electrojax.electrostatics.engines.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.errors import ConfigError
from electrojax.typing import replace
from tests.electrostatics import reference as ref

GOLDEN = json.loads((Path(__file__).parent.parent / "golden/electrostatics.json").read_text())
KINDS = ["open", "periodic", "ewald", "mesh", "mesh_ewald", "slab"]
WATER = next(case for case in GOLDEN["cases"] if case["name"] == "water_like_periodic")
receive = jax.jit(
    lambda operator, p, widths, l_max, kept: operator.receive(p, widths, l_max, kept),
    static_argnums=(2, 3, 4),
)


def test_published_features(x64):
    """physics.md Appendix C: receivers of width 2.0 without the on-site term, as √(4π) ⟨v⟩ and
    π √(3/2) σ ∇⟨v⟩."""
    structure = [(np.array(WATER["positions"]), np.array(WATER["cell"]))]
    _, _, operator = ref.prepared("periodic", structure, 1.5)
    values = np.asarray(receive(operator, jnp.asarray(WATER["multipoles"]), (2.0,), 1, False))[:, 0]
    expected = [9.62373432, -4.88208553, -4.86328430]
    np.testing.assert_allclose(np.sqrt(4 * np.pi) * values[:, 0], expected, atol=6e-9)
    gradient = np.pi * np.sqrt(1.5) * 2.0 * values[0, [3, 1, 2]]
    np.testing.assert_allclose(gradient, [0.28087163, 0.38731186, 0.06714695], atol=6e-9)


@pytest.mark.conformance_for("ewald", "mesh_ewald", "periodic")
@pytest.mark.parametrize("kind", KINDS)
def test_receivers_of_the_density_width_are_its_potential(kind, rng, x64):
    """Then R p = ∂E/∂p, with the self-interaction and without, and for every order."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=2)
    p = jnp.asarray(multipoles)
    for kept in (True, False) if "ewald" not in kind else (False,):
        options = {"l_max": 2, "self_interaction": kept}
        _, _, operator = ref.prepared(kind, [(positions, cell)], 0.8, **options)
        expected = ref.potential(operator, p)
        values = receive(operator, p, (0.8, 0.9), 2, kept)
        assert values.shape == (4, 2, 9)
        np.testing.assert_allclose(values[:, 0], expected, rtol=1e-9, atol=1e-9)
        lower = receive(operator, p, (0.9,), 1, kept)
        np.testing.assert_allclose(lower[:, 0], values[:, 1, :4], rtol=1e-9, atol=1e-9)
    channels = jnp.stack([p, 2.0 * p], axis=1)
    both = receive(operator, channels, (0.9,), 1, False)
    np.testing.assert_allclose(both, jnp.stack([lower, 2.0 * lower], axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.conformance_for("mesh", "mesh_ewald")
@pytest.mark.parametrize("kind", KINDS)
def test_receivers_are_another_density(kind, rng, x64):
    """The energy of a probe of another width in the field of the density, from energies alone.

    An atom's width is part of the geometry, so that only sums that take a width per atom can say
    it: open, and the split for all periodic ones.
    """
    positions, multipoles, cell = ref.random_structure(rng, 3, l_max=1)
    probe = rng.normal(size=(1, 9))
    widths = np.array([0.7, 0.7, 0.7, 0.9])
    # Frames with atoms in one place are refused: the probe is moved onto its atom afterwards.
    sites = np.concatenate([positions, positions[:1] + np.array([0.15, 0.0, 0.0])])
    zeros = np.zeros((3, 5))
    density = np.concatenate([np.c_[multipoles, zeros], np.zeros((1, 9))])
    other = np.concatenate([np.zeros((3, 9)), probe])
    engine = ref.engine_of(kind if kind in ("open", "ewald", "mesh_ewald") else f"{kind}_ewald")
    system = ref.batch([(sites, cell)], kind, engine, widths, 2)
    system = replace(system, positions=system.positions.at[3].set(system.positions[0]))
    operator = ref.prepare(engine, 2, jnp.asarray(widths), system)
    expected = np.sum(other * np.asarray(ref.potential(operator, density)))
    _, _, prepared = ref.prepared(kind, [(positions, cell)], 0.7, 1)
    values = np.asarray(receive(prepared, jnp.asarray(multipoles), (0.9,), 2, True))
    assert abs(np.sum(values[0, 0] * probe) - expected) < 1e-6 * abs(expected)


def test_narrow_receivers_are_announced(rng, x64):
    """The k-vectors of an engine suffice for the receivers that it was planned for."""
    positions, multipoles, cell = ref.random_structure(rng, 4)
    p = jnp.asarray(multipoles)
    results = []
    for engine in (PeriodicCoulomb(1e-6, narrowest_receiver=0.5), PeriodicCoulomb(1e-13)):
        system = ref.batch([(positions, cell)], "periodic", engine, 1.2, 1)
        results.append(receive(ref.prepare(engine, 1, 1.2, system), p, (0.5,), 1, True))
    scale = np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() < 1e-4 * scale
    planned = [e.k_box(cell, 1.2, 1) for e in (PeriodicCoulomb(1e-6), engine)]
    assert all(a < b for a, b in zip(*planned))
    refused = PeriodicCoulomb(1e-6, narrowest_receiver=0.5)
    system = ref.batch([(positions, cell)], "periodic", refused, 1.2, 1)
    with pytest.raises(ConfigError, match=r"receiver of width 0\.3 Å; needed at least"):
        ref.prepare(refused, 1, 1.2, system).receive(p, (0.3,), 1)


@pytest.mark.conformance_for("2")
@pytest.mark.parametrize("l_max", [0, 2])
def test_the_mesh_receives_what_the_direct_sum_does(l_max, x64):
    """Narrower, equal and wider receivers, to the accuracy asked for: another order costs a digit.

    A receiver wider than the split takes another path than one that is not.
    """
    positions, p, cell = ref.random_structure(np.random.default_rng(3), 6, 1.4 * ref.TRICLINIC, 2)
    p, widths = jnp.asarray(p[:, : (l_max + 1) ** 2]), (0.6, 1.0, 1.6)
    results = []
    for engine in (
        PeriodicCoulomb(1e-12, narrowest_receiver=0.6),
        MeshCoulomb(1e-6, narrowest_receiver=0.6),
        MeshEwaldCoulomb(1e-6, cutoff=10.0),
    ):
        system = ref.batch([(positions, cell)], "periodic", engine, 1.0, l_max)
        made = jax.jit(lambda s, p, e=engine: e.prepare(s, l_max, 1.0).receive(p, widths, 2))
        results.append(np.asarray(made(system, p)))
    for received in results[1:]:
        error = np.sqrt(np.mean((received - results[0]) ** 2, axis=0))
        scale = np.sqrt(np.mean(results[0] ** 2, axis=0))
        assert np.all(error[:, :4] < 1e-6 * scale[:, :4])
        assert np.all(error < 1e-5 * scale)
    system = ref.batch([(positions, cell)], "periodic", engine, 1.0, l_max)
    operator = engine.prepare(system, l_max, jnp.full(6, 0.9))
    with pytest.raises(ConfigError, match=r"a receiver of width 1\.6 Å with a split of"):
        operator.receive(p, widths, 2)
    refused = MeshCoulomb(1e-3, narrowest_receiver=0.6).prepare(system, l_max, 1.0)
    with pytest.raises(ConfigError, match=r"receiver of width 0\.3 Å; needed at least"):
        refused.receive(p, (0.3,), 2)
