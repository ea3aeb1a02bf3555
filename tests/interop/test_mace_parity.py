"""Our MACE against mace-torch, from files with random models that need no torch to be read."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError, DataError
from electrojax.interop.mace_torch import convert
from electrojax.nn import distance, radial
from electrojax.nn.repulsion import zbl_energies
from electrojax.system.atoms import frame_from_atoms
from tests.interop.mace_golden import CASES, errors, model, read
from tests.nn import graphs


@pytest.mark.parametrize("case", CASES)
def test_energies_forces_and_stress_are_those_of_mace_torch(case, x64):
    # mace-torch gives no derivative of Chebyshev polynomials: its forces are finite differences.
    forces = 1e-8 if "chebyshev" in case else 1e-10
    error = errors(case)
    assert error["energy"] < 1e-10
    assert error["forces"] < forces
    assert error.get("stress", 0.0) < 1e-10


def test_the_files_cover_what_they_are_to_cover():
    configs = [read(case)[2] for case in CASES]
    assert {config["correlation"] for config in configs} == {1, 2, 3}
    assert {config["hidden_irreps"].count("+") for config in configs} == {0, 1, 2}
    assert len({config["interaction_cls"] for config in configs}) == 4
    assert len({config["interaction_cls_first"] for config in configs}) == 5
    assert {config.get("distance_transform", "None") for config in configs} == {
        "None", "Agnesi", "Soft",
    }  # fmt: skip
    names = "edge_irreps", "use_edge_irreps_first", "embedding_specs", "use_embedding_readout"
    assert all(any(config.get(name) for config in configs) for name in names)
    for case in CASES:
        arrays = read(case)[0]
        assert np.abs(arrays["forces"]).max() > 0.05
        assert '"mace-torch": "0.3.16"' in str(arrays["versions"])


def test_an_array_without_a_place_is_named():
    _, state, config = read("correlation1-l0")
    with pytest.raises(ConfigError, match=r"joint_embedding\.project\.weight"):
        convert({**state, "joint_embedding.project.weight": np.ones((3, 4))}, config)


def test_a_missing_array_is_named():
    _, state, config = read("correlation1-l0")
    name = "interactions.1.skip_tp.weight"
    with pytest.raises(ConfigError, match=name):
        convert({key: value for key, value in state.items() if key != name}, config)


def test_constants_that_were_trained_are_refused():
    _, state, config = read("correlation1-l0")
    name = "radial_embedding.bessel_fn.bessel_weights"
    with pytest.raises(ConfigError, match=name):
        convert({**state, name: state[name] * 1.01}, config)


def test_coupling_tensors_of_another_kind_are_refused():
    _, state, config = read("correlation1-l0")
    name = "products.0.symmetric_contractions.contractions.0.U_matrix_1"
    with pytest.raises(ConfigError, match="U_matrix_1"):
        convert({**state, name: np.roll(state[name], 1)}, config)


GATED = "RealAgnosticResidualNonLinearInteractionBlock"
STATE = {"type": "categorical", "per": "graph", "emb_dim": 3, "num_classes": 4}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"interaction_cls": "RealAgnosticAttResidualInteractionBlock"}, "interaction_cls"),
        ({"gate": "tanh"}, "gate"),
        ({"hidden_irreps": "4x0e+4x0o"}, "hidden_irreps"),
        ({"hidden_irreps": "4x0e+4x2e"}, "hidden_irreps"),
        ({"edge_irreps": "4x0e+4x1e"}, "edge_irreps"),
        ({"edge_irreps": "4x0e+4x1o"}, "edge_irreps 4x0e.4x1o with a degree above"),
        ({"use_embedding_readout": True}, "use_embedding_readout"),
        ({"embedding_specs": {"elec_temp": STATE}}, "embedding_specs elec_temp"),
        ({"embedding_specs": {"total_spin": {**STATE, "per": "node"}}}, "per node"),
        ({"embedding_specs": {"total_spin": {**STATE, "type": "fourier"}}}, "type fourier"),
        ({"embedding_specs": {"total_spin": {**STATE, "dropout": 0.1}}}, "dropout"),
        ({"embedding_specs": {"total_spin": {**STATE, "offset": 0.5}}}, "offset 0.5"),
        (
            {"embedding_specs": {"total_spin": {**STATE, "type": "continuous", "in_dim": 2}}},
            "in_dim 2",
        ),
        ({"embedding_specs": {"total_spin": STATE}}, "joint_embedding"),
        (
            {"interaction_cls": GATED, "interaction_cls_first": GATED},
            "4, 4.; the configuration does not belong",
        ),
        ({"hidden_irreps": "4x0e+2x1o"}, "hidden_irreps"),
        ({"MLP_irreps": "32x0e"}, "MLP_irreps"),
        ({"correlation": [2, 3]}, "correlation"),
        ({"embedding_specs": {"charge": {}}}, "embedding_specs charge"),
        ({"num_bessels": 8}, "num_bessels"),
        ({"heads": ["a", "b"]}, "heads a, b"),
        ({"num_bessel": 5}, r"bessel_weights|conv_tp_weights"),
    ],
)
def test_what_is_not_supported_is_named(change, named):
    _, state, config = read("correlation1-l0")
    with pytest.raises(ConfigError, match=named):
        convert(state, {**config, **change})


def test_a_state_without_a_row_in_the_table_is_refused():
    potential = model("gated-omol")
    h2 = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    for name, value in (("total_charge", 5), ("total_charge", -5), ("multiplicity", 1.5)):
        h2.info = {"total_charge": 0, "multiplicity": 1, name: value}
        with pytest.raises(DataError, match=f"h2: has {name} {value:g}, but"):
            potential.check(frame_from_atoms(h2, "h2"))


def test_the_order_of_elements_in_the_weights_does_not_matter():
    """Swapping two elements in every array, and in the table, gives the same parameters."""
    _, state, config = read("correlation1-l0")
    swapped = dict(state, atomic_numbers=state["atomic_numbers"][::-1])
    for name, array in state.items():
        if name.endswith("skip_tp.weight"):
            swapped[name] = array.reshape(-1, 2, 4)[:, ::-1].ravel()
        if ".weights" in name and "zeroed" not in name:
            swapped[name] = array[::-1]
    embedding = "node_embedding.linear.weight"
    energies = "atomic_energies_fn.atomic_energies"
    swapped[embedding] = state[embedding].reshape(2, -1)[::-1].ravel()
    swapped[energies] = state[energies][::-1]
    one, other = convert(state, config), convert(swapped, {**config, "atomic_numbers": [8, 1]})
    assert one.statistics == other.statistics
    same = jax.tree.map(np.array_equal, one.params, other.params)
    assert all(jax.tree.leaves(same))


def test_chebyshev_and_gaussian_functions_are_those_of_the_textbook(x64):
    r = jnp.linspace(0.0, 2.0, 9)
    found = jax.jit(radial.chebyshev_basis, static_argnums=2)(r, 2.0, 5)
    for n in range(1, 6):
        column = np.polynomial.Chebyshev.basis(n)(np.asarray(r))
        np.testing.assert_allclose(found[:, n - 1], column, atol=1e-12)
    found = jax.jit(radial.gaussian_basis, static_argnums=(1, 2))(r, 3.0, 4)
    np.testing.assert_allclose(found[:, 2], np.exp(-0.5 * (np.asarray(r) - 2.0) ** 2), atol=1e-14)


@jax.jit
def _derivatives(r):
    """Values, slopes and curvatures of both transforms at lengths r, for a bond of 1.4 Å."""
    both = [lambda x, f=f: f(x, 1.4) for f in (distance.agnesi, distance.soft)]
    return [[jax.vmap(g)(r) for g in (f, jax.grad(f), jax.grad(jax.grad(f)))] for f in both]


def test_transforms_are_smooth_at_zero_and_end_where_they_should(x64):
    agnesi, soft = _derivatives(jnp.array([0.0, 0.2, 0.9, 9.0, 1.0e3]))
    assert all(np.all(np.isfinite(values)) for values in (*agnesi, *soft))
    assert agnesi[0][0] == 1.0 and 0 < agnesi[0][-1] < 1e-2
    # Its definition, with u to both powers.
    u, q, p, a = 2 * 0.9 / 1.4, distance.AGNESI_Q, distance.AGNESI_P, distance.AGNESI_A
    assert agnesi[0][2] == pytest.approx(1 / (1 + a * u**q / (1 + u ** (q - p))), abs=1e-14)
    np.testing.assert_allclose(soft[0][jnp.array([0, 1, 3])], [1.05, 1.05, 9.0], atol=1e-3)
    np.testing.assert_allclose(soft[1][jnp.array([0, 3])], [0.0, 1.0], atol=1e-2)


def test_nuclei_repel_as_coulomb_law_says_and_not_beyond_a_bond(x64):
    system = graphs.graph(graphs.molecule([[0.0, 0, 0], [0, 0, 1.0]]))  # O and H

    @jax.jit
    @jax.vmap
    @jax.value_and_grad
    def pair(r):
        return jnp.sum(zbl_energies(jnp.full(2, r), system, 5))

    bond = 0.66 + 0.31
    energies, slopes = pair(jnp.array([1e-5, 0.5, bond - 1e-4, bond, 1.0e3, 0.0]))
    np.testing.assert_allclose(energies[0], 8 * 14.3996 / 1e-5, rtol=1e-3)
    assert slopes[1] < 0.0 and abs(slopes[2]) < 1e-5
    assert energies[3] == energies[4] == 0.0
    assert np.all(np.isfinite(slopes))
