"""The scheme of MACE-POLAR-1 with our guarded networks, for charges alone, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from electrojax import testing
from electrojax.electrostatics.coulomb import engine_for
from electrojax.solvers.non_scf import FieldUpdates
from electrojax.units import COULOMB
from tests.solvers.systems import CUTOFF, WIDTH, coulomb_matrix, system_of
from tests.solvers.test_scf import features_of

RECEIVERS, NORM, HIDDEN = (1.1, 2.5), 20.0, (4, 5)


def silu(x):
    """Scaled so that its second moment over a normal distribution is 1, as in e3nn."""
    z = np.linspace(-12, 12, 200_001)
    moment = np.trapezoid((z / (1 + np.exp(-z))) ** 2 * np.exp(-z * z / 2), z) / np.sqrt(2 * np.pi)
    return x / (1 + np.exp(-x)) / np.sqrt(moment)


def linear(parameters, x):
    return x @ np.asarray(parameters["weights"]) / np.sqrt(x.shape[-1])


def perceptron(parameters, x):
    for layer in range(len(HIDDEN)):
        x = silu(linear(parameters[f"hidden_{layer}"], x))
    return linear(parameters["output"], x)


def without(parameters, rows):
    """Weights that leave some inputs aside."""
    return {"weights": jnp.asarray(parameters["weights"]).at[rows].set(0.0)}


def polar_params(params, k):
    """Parameters of that form: no element but in the embedding z, no products with m."""
    params = jax.tree.map(lambda x: x, params)
    for name in params:
        if name.startswith(("start_", "weight_")) or name.endswith("_elements"):
            params[name] = jax.tree.map(jnp.zeros_like, params[name])
    for step in range(2):
        update = params[f"update_{step}"]
        first = update["gates"]["hidden_0"]
        update["gates"]["hidden_0"] = without(first, slice(k, 2 * k))  # h itself
        update["gated"]["gates"] = without(update["gated"]["gates"], slice(k, 2 * k))
        update["change_0"] = without(update["change_0"], slice(0, 2 * k))
        update["fukui"] = without(update["fukui"], slice(0, k))
    for name in ("density", "potentials"):
        readout = params["energy_readout"][name]
        readout["features_0"] = without(readout["features_0"], slice(None))
    return params


def received(frame, charges):
    """[N, 2, 2] √4π ⟨v⟩ over Gaussians, own atom left out, with half the field, over the norm."""
    vectors = frame.positions[:, None] - frame.positions[None]
    distance = np.linalg.norm(vectors, axis=-1)
    np.fill_diagonal(distance, 1.0)
    centred = frame.positions - frame.positions.mean(axis=0)
    values = []
    for receiver in RECEIVERS:
        kernel = erf(distance / np.sqrt(2 * (WIDTH**2 + receiver**2))) / distance
        np.fill_diagonal(kernel, 0.0)
        applied = -0.5 * centred @ frame.external_field
        values.append(COULOMB * kernel @ charges + applied[:, None])
    return np.sqrt(4 * np.pi) * np.stack(values, axis=-1) / NORM


def test_the_scheme_of_mace_polar(x64):
    frame = testing.cluster(
        np.random.default_rng(1), n=5, total_charge=-1.0, multiplicity=2.0,
        external_field=np.array([0.1, 0.0, -0.2]),
    )  # fmt: skip
    system, features, k = system_of([frame]), features_of(5), 3
    solver = FieldUpdates(
        steps=2, fukui="signed", limit=0.0, channels=k, hidden=HIDDEN, energy_hidden=HIDDEN,
        receiver_widths=RECEIVERS, receiver_norms=(NORM / np.sqrt(4 * np.pi),) * 2,
        potentials="absolute", l_max=0, width=WIDTH, cutoff=CUTOFF,
    )  # fmt: skip
    inputs = (features, system, engine_for("open", 1e-12).prepare(system, 0, WIDTH), None)
    shapes = jax.eval_shape(solver.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(3)
    random = jax.tree.map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape)), shapes)
    params = polar_params(random, k)
    state = jax.jit(lambda params: solver.apply({"params": params}, *inputs))(params)

    # n_up − n_down = 1, counted here in charges as ours are: the first channel has Q_α.
    totals = np.array([0.5 * (-1.0 - 1.0), 0.5 * (-1.0 + 1.0)])
    layer = np.asarray(features.layers[0].array)[:, :3]

    def fixed(charges, weights):
        return charges + weights / weights.sum(axis=0) * (totals - charges.sum(axis=0))

    charges = linear(params["local"]["layer_0_degree_0"], layer)
    charges = first = fixed(charges, perceptron(params["fukui"], layer))
    mixed = linear(params["update_features"]["degree_0"], layer)
    for step in range(2):
        update = params[f"update_{step}"]
        seen = np.concatenate([received(frame, charges).reshape(5, 4), charges], axis=1)
        moved = linear(update["invariants"]["values_0"], seen)
        moved = moved + linear(update["invariants"]["features_0"], mixed)
        element = np.asarray(params[f"element_{step}"])[frame.numbers]
        inputs = np.concatenate([mixed * moved, 0 * mixed, element], axis=1)
        gates = perceptron(update["gates"], inputs)[:, k : 2 * k]
        product = np.concatenate([gates * mixed, np.zeros_like(mixed)], axis=1)
        gated = silu(linear(update["gated"]["gates"], product))
        change = linear(update["change_0"], np.concatenate([0 * product, gated], axis=1))
        weights = linear(update["fukui"], np.concatenate([0 * mixed, gated], axis=1))
        charges = fixed(charges + change, weights)
    np.testing.assert_allclose(state.density.multipoles[:, :, 0], charges, rtol=1e-7, atol=1e-8)

    mixed = linear(params["energy_features"]["degree_0"], layer)
    readout = params["energy_readout"]
    density = mixed * linear(readout["density"]["values_0"], charges + first)
    seen = received(frame, charges).reshape(5, 4)
    inputs = np.concatenate(
        [density, mixed * linear(readout["potentials"]["values_0"], seen)], axis=1
    )
    learned = perceptron(readout["perceptron"], inputs).sum()
    total = charges.sum(axis=1)
    expected = {
        "polarisation": learned,
        "coulomb": 0.5 * total @ coulomb_matrix(frame) @ total,
        "field": -total @ frame.positions @ frame.external_field,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(state.energies[name][0], value, rtol=1e-6, err_msg=name)
