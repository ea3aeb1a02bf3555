"""What the configuration of a PolarMACE says of its charges, in our terms."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from electrojax.errors import ConfigError

KIND = "PolarMACE"

DEFAULTS: dict[str, Any] = {
    "atomic_multipoles_max_l": 0,
    "atomic_multipoles_smearing_width": 1.0,
    "field_feature_max_l": 0,
    "field_feature_widths": (1.0,),
    "num_recursion_steps": 1,
    "field_si": False,
    "include_electrostatic_self_interaction": False,
    "add_local_electron_energy": False,
    "fixedpoint_update_config": None,
    "field_readout_config": None,
}
"""Arguments of PolarMACE that we read, with its defaults."""

NUMERICAL = (
    "kspace_cutoff_factor",
    "quadrupole_feature_corrections",
    "return_electrostatic_potentials",
    "field_norm_factor",
    "field_feature_norms",
)
"""Those that say how its sums are evaluated, are not used, or are in the state dict."""

ONLY_CLASSES = {
    "fixedpoint_update_config": {
        "type": "AgnosticEmbeddedOneBodyVariableUpdate",
        "potential_embedding_cls": "AgnosticChargeBiasedLinearPotentialEmbedding",
        "nonlinearity_cls": "MLPNonLinearity",
    },
    "field_readout_config": {"type": "OneBodyMLPFieldReadout"},
}
"""Modules by name, the only ones that PolarMACE comes with."""


@dataclasses.dataclass(frozen=True)
class Polar:
    """The charges of a PolarMACE.

    Attributes:
        l_max: highest multipole order of the density.
        width: of its Gaussians, Å.
        receiver_l_max: highest order of the receivers, at most l_max.
        receiver_widths: Å.
        steps: number of updates.
        on_site: whether receivers feel their own atom's density.
        self_energy: whether Gaussians have an energy with themselves.
        learned_energy: whether there is an energy beside Coulomb's.
    """

    l_max: int
    width: float
    receiver_l_max: int
    receiver_widths: tuple[float, ...]
    steps: int
    on_site: bool
    self_energy: bool
    learned_energy: bool


def polar_part(config: Mapping[str, Any]) -> tuple[dict[str, Any], Polar | None]:
    """Returns the configuration of the backbone, and what is said of charges; None without any.

    Args:
        config: as for :func:`electrojax.interop.mace_torch.convert`.

    Raises:
        ConfigError: naming what has no counterpart.
    """
    if config.get("kind") != KIND:
        return dict(config), None
    _check(config)
    options = {name: config.get(name, default) for name, default in DEFAULTS.items()}
    backbone = {k: v for k, v in config.items() if k not in DEFAULTS and k not in NUMERICAL}
    backbone.setdefault("use_agnostic_product", True)
    # It computes the repulsion of nuclei and leaves it out of its energy.
    backbone |= {"keep_last_layer_irreps": True, "pair_repulsion": False}
    return backbone, Polar(
        l_max=int(options["atomic_multipoles_max_l"]),
        width=float(options["atomic_multipoles_smearing_width"]),
        receiver_l_max=int(options["field_feature_max_l"]),
        receiver_widths=tuple(float(width) for width in options["field_feature_widths"]),
        steps=int(options["num_recursion_steps"]),
        on_site=bool(options["field_si"]),
        self_energy=bool(options["include_electrostatic_self_interaction"]),
        learned_energy=bool(options["add_local_electron_energy"]),
    )


def _check(config: Mapping[str, Any]) -> None:
    for name, allowed in ONLY_CLASSES.items():
        for key, value in (config.get(name) or {}).items():
            if value != allowed.get(key):
                raise ConfigError(
                    f"{name} {key}: {value} of mace-torch is not supported; "
                    f"supported: {allowed.get(key, 'no such key')}"
                )
    if config.get("use_last_readout_only") and config["num_interactions"] > 1:
        raise ConfigError(
            "use_last_readout_only of a PolarMACE, which reads every layer with the last readout, "
            "is not supported; needed a readout per layer"
        )
    density, received = (
        config.get(name, 0) for name in ("atomic_multipoles_max_l", "field_feature_max_l")
    )
    if received > density:
        raise ConfigError(
            f"field_feature_max_l {received} above atomic_multipoles_max_l {density} is not "
            "supported; needed at most the same"
        )
    width = config.get("atomic_multipoles_smearing_width", 1.0)
    receivers = config.get("field_feature_widths", (1.0,))
    if min(receivers) < width:
        raise ConfigError(
            f"field_feature_widths {list(receivers)} below atomic_multipoles_smearing_width "
            f"{width} are not supported; needed none below"
        )
