"""Imported PolarMACE models against mace-torch, from files that need no torch to be read.

A file holds each model as published and with exact Coulomb sums. Published sums are not exact:
without periodicity dipoles are pairs of charges 0.02 Å (energy) and 0.1 Å (potentials) apart, with
1/(d + 10⁻⁶ Å) for 1/d; with it k-vectors end at a fixed length, and neither positions nor the
cell are strained in the Coulomb terms, whose stress is therefore missing. Potentials of a neutral
slab are counted there from their mean over a cell whose height mace-torch chooses itself, ours and
the exact ones from the vacuum.
"""

import json

import jax
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.interop.mace_torch import convert
from tests.interop.polar_golden import CASES, errors, predicted, read

DEFAULT = ("ion-in-field", "crystal", "official-medium")
MARKED = [
    pytest.param(case, marks=() if case in DEFAULT else pytest.mark.conformance) for case in CASES
]


LIMITS = {
    "scalar-receivers": 100.0,
    "official-medium": 10.0,
    "official-medium-crystal": 10.0,
    "official-large": 10.0,
}
"""Of what is allowed to others.

The first keeps an atom's own potential (field_si), which mace-torch integrates by the trapezoidal
rule; the forces of the official architectures are larger.
"""


@pytest.mark.parametrize("case", MARKED)
def test_energy_forces_multipoles_and_spin_are_those_of_exact_sums(case, x64):
    error, factor = errors(case), LIMITS.get(case, 1.0)
    for name, limit in {"energy": 1e-9, "forces": 1e-9, "stress": 1e-8}.items():
        assert error.get(name, 0.0) < factor * limit, name
    assert error["multipoles"] < factor * 1e-9
    assert error["spin_multipoles"] < factor * 1e-9


@pytest.mark.conformance
def test_published_potentials_of_a_slab_are_not_counted_from_the_vacuum(x64):
    """The same weights with that one constant in place agree; without it charges differ."""
    assert errors("slab")["multipoles"] < 1e-9
    assert errors("slab", "published")["multipoles"] > 1e-5


def test_displaced_charges_approach_our_energy(x64):
    """Displacements of 0.02 and 0.1 Å times 1, ½, ¼ and ⅛: the published error goes with them."""
    energy, _ = predicted("ion-in-field")
    deviations = read("ion-in-field")[0]["exact_displaced"] - energy
    assert abs(deviations[0]) > 1e-5
    np.testing.assert_allclose(deviations[1:] / deviations[:-1], 0.5, atol=0.1)
    # Halving the displacement takes the error of first order away, then that of second.
    first = 2 * deviations[1:] - deviations[:-1]
    second = (4 * first[1:] - first[:-1]) / 3
    assert abs(second[-1]) < 0.01 * abs(deviations[-1])


def test_published_stress_lacks_the_coulomb_terms(x64):
    """Ours is the slope of the energy of mace-torch, by finite differences; its own is not."""
    assert errors("crystal")["stress"] < 1e-8
    assert errors("crystal", "published")["stress"] > 1e-4


def test_the_files_cover_what_they_are_to_cover():
    for case in CASES:
        arrays, _, config = read(case)
        assert np.abs(arrays["exact_forces"]).max() > 0.05
        assert np.abs(arrays["exact_multipoles"]).max() > 0.05
        assert config["kind"] == "PolarMACE"
        assert '"graph_longrange": "0.4.0"' in str(arrays["versions"])
    boundaries = {tuple(read(case)[0]["pbc"].tolist()) for case in CASES}
    assert boundaries == {(False,) * 3, (True,) * 3, (True, True, False)}
    spins = [json.loads(str(read(case)[0]["state"]))["spin"] for case in CASES]
    assert {2.0, 3.0} <= set(spins)


def test_every_array_of_charges_is_asked_for():
    """Without any one of them, and with one too many, the import names it."""
    _, state, config = read("ion-in-field")
    networks = ("fukui_source_map", "field_dependent_charges_maps.1", "local_electron_energy",
                "lr_source_maps", "layer_feature_mixer")  # fmt: skip
    names = [n for n in state if n.startswith(networks) and state[n].size]
    skipped = ("output_mask", "field_norm_factor")
    names = [n for n in names if not n.endswith(skipped)]
    for name in names[::9]:
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            convert({k: v for k, v in state.items() if k != name}, config)
    with pytest.raises(ConfigError, match=r"field_dependent_charges_maps\.2\.tp_out"):
        convert({**state, "field_dependent_charges_maps.2.tp_out.weight": np.ones(3)}, config)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fixedpoint_update_config": {"type": "Other"}}, "type: Other"),
        ({"field_readout_config": {"type": "Strict"}}, "type: Strict"),
        ({"use_last_readout_only": True}, "use_last_readout_only"),
        ({"field_feature_max_l": 2}, "field_feature_max_l 2"),
        ({"field_feature_widths": [0.5, 1.0]}, "field_feature_widths"),
        ({"atomic_multipoles_smearing_width": 0.9}, "sigma2"),
        ({"hidden_irreps": "4x0e"}, "atomic_multipoles_max_l 1"),
        ({"dispersion": True}, "dispersion"),
    ],
)
def test_what_is_not_supported_is_named(change, named):
    _, state, config = read("ion-in-field")
    with pytest.raises(ConfigError, match=named):
        convert(state, {**config, **change})


def test_single_precision_is_kept():
    _, state, config = read("crystal")
    potential = convert(state, config, precision="float32")
    assert {str(x.dtype) for x in jax.tree.leaves(potential.params)} == {"float32"}
    assert potential.config["solver"]["kind"] == "non_scf"
