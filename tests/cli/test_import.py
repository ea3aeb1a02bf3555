"""The import verb: what it refuses, and how it reads the architecture of a torch module."""

import sys
from types import SimpleNamespace

import e3nn_jax as e3nn
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.interop.mace_architecture import architecture
from electrojax.interop.mace_checkpoint import configuration
from electrojax.interop.polar_architecture import DEFAULTS, polar_part
from tests.interop import polar_golden
from tests.interop.mace_golden import CASES, read

POLAR = polar_golden.CASES


def test_a_pickle_is_not_opened_without_trust_and_the_reason_is_given(electrojax, tmp_path):
    path = tmp_path / "some.model"
    path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    result = electrojax("import", path, "-o", tmp_path / "model.ejx")
    assert result.code == 2
    assert "runs whatever program" in result.err and "--trust" in result.err
    assert not (tmp_path / "model.ejx").exists()


def test_trust_is_warned_about_and_a_missing_package_is_named(electrojax, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mace", None)
    path = tmp_path / "some.model"
    path.write_bytes(b"")
    result = electrojax("import", path, "-o", tmp_path / "model.ejx", "--trust")
    assert result.code == 2
    assert result.err.startswith("warning: ") and "electrojax[torch]" in result.err


def test_a_missing_file_is_named(electrojax, tmp_path):
    result = electrojax("import", tmp_path / "no.model", "-o", tmp_path / "model.ejx", "--trust")
    assert result.code == 2 and "no.model: no such file" in result.err


@pytest.mark.parametrize("case", CASES)
def test_the_architecture_is_read_from_the_module(case):
    """A stand-in with the attributes of mace-torch's modules gives what the model was made with."""
    config = read(case)[2]
    head = config.get("heads", ["Default"])[-1]
    assert architecture(configuration(_module(config)), head) == architecture(config, head)


def test_a_module_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="MACELES"):
        configuration(_of_class("MACELES"))


@pytest.mark.parametrize("case", POLAR)
def test_the_charges_are_read_from_the_module(case):
    config = polar_golden.read(case)[2]
    found, wanted = (polar_part(c)[1] for c in (configuration(_polar_module(config)), config))
    assert found == wanted


def test_updates_of_another_kind_are_refused():
    module = _polar_module(polar_golden.read(POLAR[0])[2])
    module.field_dependent_charges_maps[1] = _update("OtherUpdate")
    with pytest.raises(ConfigError, match="OtherUpdate"):
        configuration(module)


def test_layers_that_differ_are_refused():
    module = _module(read("correlation2-l1")[2])
    module.interactions[1].avg_num_neighbors = 9.0
    with pytest.raises(ConfigError, match="avg_num_neighbors"):
        configuration(module)


def _of_class(name, **attributes):
    instance = type(name, (), {})()
    for key, value in attributes.items():
        setattr(instance, key, value)
    return instance


def _module(config):
    """What :func:`configuration` looks at in the module that mace-torch makes of a config."""
    layers, heads = config["num_interactions"], config.get("heads", ["Default"])
    scalars = e3nn.Irreps(config["hidden_irreps"])[:1]
    optional = {}
    if config.get("pair_repulsion"):
        optional["pair_repulsion_fn"] = object()
    return _of_class(
        config["kind"],
        **optional,
        r_max=np.array(config["r_max"]),
        atomic_numbers=np.array(config["atomic_numbers"]),
        heads=heads,
        radial_embedding=_radial_embedding(config),
        interactions=[_interaction(config, index) for index in range(layers)],
        products=[
            SimpleNamespace(
                linear=SimpleNamespace(
                    irreps_out=scalars
                    if index == layers - 1 and not config.get("keep_last_layer_irreps")
                    else e3nn.Irreps(config["hidden_irreps"])
                ),
                use_agnostic_product=config.get("use_agnostic_product", False),
                symmetric_contractions=SimpleNamespace(
                    contractions=[SimpleNamespace(correlation=config["correlation"])]
                ),
            )
            for index in range(layers)
        ],
        readouts=_readouts(config, len(heads)),
    )


def _polar_module(config):
    """What :func:`configuration` looks at in a PolarMACE beside the MACE that it is."""
    module = _module({"keep_last_layer_irreps": True, **config})
    for name in DEFAULTS:
        if name not in ("fixedpoint_update_config", "field_readout_config"):
            setattr(module, name, config[name])
    steps = config["num_recursion_steps"]
    kind = "AgnosticEmbeddedOneBodyVariableUpdate"
    module.field_dependent_charges_maps = [_update(kind) for _ in range(steps)]
    module.local_electron_energy = _of_class("OneBodyMLPFieldReadout")
    return module


def _update(kind):
    embedding = _of_class("AgnosticChargeBiasedLinearPotentialEmbedding")
    return _of_class(kind, potential_embedding=embedding)


def _radial_embedding(config):
    names = {"bessel": "BesselBasis", "gaussian": "GaussianBasis", "chebyshev": "ChebychevBasis"}
    embedding = SimpleNamespace(
        bessel_fn=_of_class(names[config.get("radial_type", "bessel")]),
        out_dim=config["num_bessel"],
        cutoff_fn=SimpleNamespace(p=config["num_polynomial_cutoff"]),
        apply_cutoff=config.get("apply_cutoff", True),
    )
    if "distance_transform" in config:
        embedding.distance_transform = _of_class(config["distance_transform"] + "Transform")
    return embedding


def _interaction(config, index):
    return _of_class(
        config["interaction_cls" if index else "interaction_cls_first"],
        edge_attrs_irreps=e3nn.Irreps.spherical_harmonics(config["max_ell"]),
        avg_num_neighbors=config["avg_num_neighbors"],
        conv_tp_weights=SimpleNamespace(hs=[config["num_bessel"], *config["radial_MLP"], 99]),
    )


def _readouts(config, heads):
    width = e3nn.Irreps(config["MLP_irreps"]).dim * heads
    last = _of_class(
        "NonLinearReadoutBlock",
        hidden_irreps=e3nn.Irreps(f"{width}x0e"),
        non_linearity=SimpleNamespace(acts=[SimpleNamespace(f=_of_class("f", __name__="silu"))]),
    )
    linear = [_of_class("LinearReadoutBlock") for _ in range(config["num_interactions"] - 1)]
    if config["num_interactions"] == 1:
        return [_of_class("LinearReadoutBlock")]
    return [last] if config.get("use_last_readout_only") else [*linear, last]
