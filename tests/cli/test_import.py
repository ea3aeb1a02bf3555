"""The import verb: what it refuses, and how it reads the architecture of a torch module."""

import sys
from types import SimpleNamespace

import ase.io
import e3nn_jax as e3nn
import jax
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.interop import mace_checkpoint as checkpoint
from electrojax.interop.mace_architecture import architecture
from electrojax.interop.mace_checkpoint import configuration
from electrojax.interop.polar_architecture import DEFAULTS, polar_part
from electrojax.models.bundle import load
from electrojax.runs import verify_import
from tests.interop import polar_golden
from tests.interop.mace_golden import CASES, read, read_file, structure

POLAR = polar_golden.CASES


def _of_class(name, **attributes):
    instance = type(name, (), {})()
    for key, value in attributes.items():
        setattr(instance, key, value)
    return instance


def _of_class_with_state(name):
    return _of_class(name, state_dict=dict)


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
    with pytest.raises(ConfigError, match="EnergyDipolesMACE"):
        configuration(_of_class("EnergyDipolesMACE"))


def test_options_of_les_are_read_from_the_module():
    config = read_file("les_molecule")[2]
    module = _module(config)
    les = config["les"]
    module.les = SimpleNamespace(
        **{k: v for k, v in les.items() if k.startswith("use_")},
        ewald=SimpleNamespace(**les),
        bec=SimpleNamespace(**les),
    )
    assert configuration(module)["les"] == les


class _Stand:
    """A torch module as far as an import looks at it."""

    def __init__(self, loaded):
        self.loaded = loaded

    def load(self, path, **options):
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        ({"weights": 1}, "weights alone, or a checkpoint of a training"),
        ([1.0], "holds a list, not a model"),
        (RuntimeError("PytorchStreamReader failed"), "cannot open it as a model (Pytorch"),
        (
            ModuleNotFoundError("No module named 'les'", name="les"),
            "https://github.com/ChengUCB/les",
        ),
        (
            _of_class_with_state("Schnet"),
            "a Schnet of mace-torch is not supported; needed MACE, ScaleShiftMACE, MACELES",
        ),
    ],
)
def test_what_is_no_model_of_mace_torch_is_refused_in_one_line(
    electrojax, tmp_path, monkeypatch, loaded, said
):
    for name in ("mace", "mace.modules", "mace.modules.models", "mace.modules.extensions"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch", _Stand(loaded))
    path = tmp_path / "some.model"
    path.write_bytes(b"x")
    result = electrojax("import", path, "-o", tmp_path / "model.ejx", "--trust")
    assert result.code == 2 and said in result.err
    assert len(result.err.splitlines()) == 2  # a warning of --trust, and the error
    assert not (tmp_path / "model.ejx").exists()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Makes `import two.model` see a model with two heads, and torch what its file says of it."""
    arrays, state, config = read("two-heads")
    ase.io.write(tmp_path / "some.xyz", structure(arrays))
    (tmp_path / "two.model").write_bytes(b"stands for it")
    found = {name: arrays[name] for name in ("energy", "forces", "stress")}
    found["energy"] = float(found["energy"])
    monkeypatch.setattr(checkpoint, "open_model", lambda path, trust: SimpleNamespace())
    monkeypatch.setattr(checkpoint, "configuration", lambda module: config)
    monkeypatch.setattr(checkpoint, "state_arrays", lambda module: state)
    monkeypatch.setattr(verify_import, "reference", lambda *args: iter([found]))
    monkeypatch.chdir(tmp_path)
    return found


def test_torch_beside_ours_on_structures_of_the_user(electrojax, opened, tmp_path):
    command = ("import", "two.model", "-o", "one.ejx", "--head", "ccsd", "--verify", "some.xyz")
    result = electrojax(*command)
    assert result.code == 0 and "1 structures, head ccsd" in result.err
    rows = [line.split() for line in result.err.splitlines()[1:]]
    assert [row[0] for row in rows] == ["energy", "forces", "stress"]
    assert all(float(row[1]) < 1e-6 for row in rows)  # the file has eight decimals
    opened["forces"] = opened["forces"] + 1e-3
    (tmp_path / "one.ejx").unlink()
    result = electrojax(*command)
    assert result.code == 3 and "forces differ from mace-torch by 1.0e-03" in result.err
    assert not (tmp_path / "one.ejx").exists()
    assert electrojax(*command, "--tolerance", "2e-3").code == 0


def test_a_head_is_chosen_on_import_or_at_evaluation(electrojax, opened):
    assert electrojax("import", "two.model", "-o", "no.ejx").code == 2
    result = electrojax("import", "two.model", "-o", "no.ejx", "--head", "mp2")
    assert result.code == 2 and 'no head "mp2"; it has dft, ccsd' in result.err
    assert electrojax("import", "two.model", "-o", "both.ejx", "--head", "all").code == 0
    assert electrojax("import", "two.model", "-o", "one.ejx", "--head", "ccsd").code == 0
    assert electrojax("import", "both.ejx", "-o", "taken.ejx", "--head", "ccsd").code == 0
    one, both, taken = load("one.ejx"), load("both.ejx", head="ccsd"), load("taken.ejx")
    for other in (both, taken):
        assert other.statistics == one.statistics
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, other.params, one.params)))
    assert load("both.ejx", head="dft").statistics != one.statistics
    assert "heads" in electrojax("info", "both.ejx").out
    for arguments in (("both.ejx", "some.xyz"), ("both.ejx", "some.xyz", "--head", "mp2")):
        result = electrojax("evaluate", *arguments)
        assert result.code == 2 and "dft, ccsd" in result.err
    result = electrojax("evaluate", "one.ejx", "some.xyz", "--head", "dft")
    assert result.code == 2 and "has one head alone" in result.err


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


def _module(config):
    """What :func:`configuration` looks at in the module that mace-torch makes of a config."""
    layers, heads = config["num_interactions"], config.get("heads", ["Default"])
    scalars = e3nn.Irreps(config["hidden_irreps"])[:1]
    optional = {}
    if config.get("pair_repulsion"):
        optional["pair_repulsion_fn"] = object()
    if config.get("use_embedding_readout"):
        optional["embedding_readout"] = object()
    for name in ("embedding_specs", "use_edge_irreps_first"):
        if name in config:
            optional[name] = config[name]
    if "edge_irreps" in config:
        optional["edge_irreps"] = e3nn.Irreps(config["edge_irreps"])
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
