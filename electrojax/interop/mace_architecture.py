"""What a configuration of mace-torch says, in our terms; what we do not have is named."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import e3nn_jax as e3nn
import numpy as np

from electrojax.errors import ConfigError
from electrojax.interop.mace_state import state_options
from electrojax.nn import distance, repulsion
from electrojax.nn.readout import EnergyReadout

INTERACTIONS = {
    "RealAgnosticInteractionBlock": (False, "average"),
    "RealAgnosticResidualInteractionBlock": (True, "average"),
    "RealAgnosticDensityInteractionBlock": (False, "density"),
    "RealAgnosticDensityResidualInteractionBlock": (True, "density"),
    "RealAgnosticResidualNonLinearInteractionBlock": (True, "gated"),
}
"""Interaction of mace-torch: whether it is residual, and what it divides messages by.

The gated one has a divisor of its own.
"""

ONLY: dict[str, tuple[Any, ...]] = {
    "kind": ("MACE", "ScaleShiftMACE", "PolarMACE"),
    "gate": ("silu",),
    "readout_cls": ("NonLinearReadoutBlock", "LinearReadoutBlock"),
    "use_so3": (False,),
    "cueq_config": (None,),
    "oeq_config": (None,),
    "lammps_mliap": (False,),
    "radial_type": ("bessel", "gaussian", "chebyshev"),
    "distance_transform": (None, "None", "none", "Agnesi", "Soft"),
    "interaction_cls": tuple(INTERACTIONS),
    "interaction_cls_first": tuple(INTERACTIONS),
}
"""Options of which only some values have a counterpart here."""

REQUIRED = (
    "r_max",
    "num_bessel",
    "num_polynomial_cutoff",
    "max_ell",
    "interaction_cls",
    "interaction_cls_first",
    "num_interactions",
    "hidden_irreps",
    "avg_num_neighbors",
    "atomic_numbers",
    "correlation",
)
FREE = (
    "num_elements",
    "edge_irreps",
    "use_edge_irreps_first",
    "embedding_specs",
    "use_embedding_readout",
    "MLP_irreps",
    "atomic_energies",
    "radial_MLP",
    "atomic_inter_scale",
    "atomic_inter_shift",
    "heads",
    "apply_cutoff",
    "use_reduced_cg",
    "use_agnostic_product",
    "use_last_readout_only",
    "pair_repulsion",
    "keep_last_layer_irreps",
)
"""Options that the converter reads, or that the weights themselves answer."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A MACE of mace-torch in our terms.

    Attributes:
        backbone: options of our backbone.
        numbers: atomic numbers in the order of its weights.
        average_neighbors: mean number of neighbours.
        heads: names of its heads.
        head: index of the one that is wanted.
        readout_width: hidden units of the last readout, of one head.
        agnostic: whether its many-body weights are the same for all elements.
        last_readout_only: whether only the last layer has a readout.
        embeddings: what is embedded beside the elements, by name in mace-torch.
    """

    backbone: dict[str, Any]
    numbers: tuple[int, ...]
    average_neighbors: float
    heads: tuple[str, ...]
    head: int
    readout_width: int
    agnostic: bool
    last_readout_only: bool
    embeddings: tuple[str, ...] = ()

    def degree(self, index: int) -> int:
        """Returns the largest l of a layer's output; −1 is the embedding."""
        if index < 0 or (self.backbone["last_scalars"] and index == self.backbone["layers"] - 1):
            return 0
        return int(self.backbone["hidden_l_max"])

    def residual(self, index: int) -> bool:
        """Returns whether a layer adds its input."""
        kind = self.backbone["residual"]
        return kind == "all" or (kind == "later" and index > 0)

    def channels_in(self, index: int) -> tuple[int, ...]:
        """Returns the channels per degree of what neighbours send in a layer."""
        degrees, channels = self.degree(index - 1) + 1, self.backbone["channels"]
        given = self.backbone["edge_channels"]
        if index == 0 and not self.backbone["first_edge_channels"]:
            given = ()
        return tuple(given[:degrees]) or (channels,) * degrees

    def of_head(self, available: int) -> int:
        """Returns the row of this head in an array that may be shared by all heads."""
        return self.head if available > 1 else 0


def architecture(config: Mapping[str, Any], head: str = "") -> Architecture:
    """Returns what a configuration of mace-torch says.

    Args:
        config: as for :func:`electrojax.interop.mace_torch.convert`.
        head: name of the wanted head; may be empty if there is only one.

    Raises:
        ConfigError: naming the option that is missing, unknown or not supported.
    """
    _check(config)
    heads = tuple(config.get("heads") or ("Default",))
    if not head and len(heads) > 1:
        raise ConfigError(f"the model has the heads {', '.join(heads)}; choose one of them")
    if head and head not in heads:
        raise ConfigError(f'the model has no head "{head}"; it has {", ".join(heads)}')
    return Architecture(
        backbone=_backbone(config),
        numbers=tuple(int(z) for z in config["atomic_numbers"]),
        average_neighbors=float(config["avg_num_neighbors"]),
        heads=heads,
        head=heads.index(head) if head else 0,
        readout_width=_readout_width(config),
        agnostic=bool(config.get("use_agnostic_product", False)),
        last_readout_only=bool(config.get("use_last_readout_only", False)),
        embeddings=tuple(config.get("embedding_specs") or ()),
    )


def check_options(
    package: str,
    config: Mapping[str, Any],
    required: Iterable[str],
    only: Mapping[str, Collection[Any]],
    free: Iterable[str],
) -> None:
    """Checks that every option of another package has a counterpart here.

    Args:
        package: whose options they are.
        config: the options.
        required: those that must be there.
        only: those of which only some values have a counterpart, with these.
        free: those that may have any value.

    Raises:
        ConfigError: naming what is missing, unknown or not supported.
    """
    missing = [name for name in required if name not in config]
    if missing:
        raise ConfigError(f"the configuration of {package} lacks {', '.join(missing)}")
    unknown = sorted(set(config).difference(required, only, free))
    if unknown:
        raise ConfigError(f"options of {package} without a counterpart: {', '.join(unknown)}")
    for name, allowed in only.items():
        if name in config and config[name] not in allowed:
            raise ConfigError(
                f"{name} {config[name]} of {package} is not supported; "
                f"supported: {', '.join(map(str, allowed))}"
            )


def _check(config: Mapping[str, Any]) -> None:
    check_options("mace-torch", config, REQUIRED, ONLY, FREE)
    if config.get("use_embedding_readout") and not config.get("embedding_specs"):
        raise ConfigError("use_embedding_readout without embedding_specs has nothing to read")
    if config.get("use_last_readout_only") and config["num_interactions"] == 1:
        raise ConfigError("use_last_readout_only with one interaction leaves no readout at all")


def _backbone(config: Mapping[str, Any]) -> dict[str, Any]:
    hidden = _channels("hidden_irreps", config["hidden_irreps"])
    if len(set(hidden)) > 1:
        raise ConfigError(
            f"hidden_irreps {config['hidden_irreps']} are not supported; needed one multiplicity, "
            "such as 64x0e+64x1o"
        )
    residual, normalization = _interactions(config)
    layers = int(config["num_interactions"])
    keep = bool(config.get("keep_last_layer_irreps", False))
    hidden_l_max = len(hidden) - 1 if layers > 1 or keep else 0  # a single layer is the last one
    transform = config.get("distance_transform") or "none"
    widths = config.get("radial_MLP") or (64, 64, 64)
    return {
        "kind": "mace",
        "cutoff": float(config["r_max"]),
        "channels": hidden[0],
        "l_max": int(config["max_ell"]),
        "hidden_l_max": hidden_l_max,
        "layers": layers,
        "correlation": _one(config["correlation"]),
        "bessel": int(config["num_bessel"]),
        "radial_basis": config.get("radial_type", "bessel"),
        "distance_transform": transform.lower(),
        "cutoff_power": int(config["num_polynomial_cutoff"]),
        "cutoff_on": "basis" if config.get("apply_cutoff", True) else "weights",
        "radial_hidden": [int(width) for width in widths],
        **_edge_channels(config, hidden),
        "interaction": "gated" if normalization == "gated" else "linear",
        "residual": residual,
        "normalization": "average" if normalization == "gated" else normalization,
        "last_scalars": not keep,
        "zbl": bool(config.get("pair_repulsion", False)),
        **state_options(config.get("embedding_specs") or {}),
        "embedding_energy": bool(config.get("use_embedding_readout", False)),
        "species_products": not config.get("use_agnostic_product", False),
    }


def _edge_channels(config: Mapping[str, Any], hidden: Sequence[int]) -> dict[str, Any]:
    """What neighbours send; with one layer only the first layer's counts."""
    irreps = config.get("edge_irreps")
    channels = [] if irreps is None else list(_channels("edge_irreps", irreps))
    first = bool(config.get("use_edge_irreps_first", False)) and bool(channels)
    if int(config["num_interactions"]) == 1:
        channels = channels[:1] if first else []
    if len(channels) > len(hidden):
        raise ConfigError(
            f"edge_irreps {irreps} with a degree above those of hidden_irreps "
            f"{config['hidden_irreps']} are not supported; needed at most the same"
        )
    return {"edge_channels": channels, "first_edge_channels": first}


def _channels(name: str, irreps: Any) -> tuple[int, ...]:
    """Channels per degree of irreps of natural parity, from l = 0 on without a gap."""
    parsed = e3nn.Irreps(str(irreps))
    channels = tuple(mul for mul, _ in parsed)
    if parsed != e3nn.Irreps([(mul, (l, (-1) ** l)) for l, mul in enumerate(channels)]):
        raise ConfigError(
            f"{name} {irreps} are not supported; needed scalars first and natural parity, such as "
            "64x0e+64x1o"
        )
    return channels


def _interactions(config: Mapping[str, Any]) -> tuple[str, str]:
    first, normalization = INTERACTIONS[config["interaction_cls_first"]]
    later, other = INTERACTIONS[config["interaction_cls"]]
    single = int(config["num_interactions"]) == 1
    if not single and (normalization != other or (first and not later)):
        raise ConfigError(
            f"a {config['interaction_cls_first']} followed by a {config['interaction_cls']} is not "
            "supported; needed one normalisation, and residual layers after a residual one"
        )
    if first:
        return "all", normalization
    return ("later" if later and not single else "none"), normalization


def _one(correlation: Any) -> int:
    values = set(correlation) if isinstance(correlation, Sequence) else {correlation}
    if len(values) != 1:
        raise ConfigError(f"correlation {correlation}: needed the same in every layer")
    return int(values.pop())


def _readout_width(config: Mapping[str, Any]) -> int:
    if config["num_interactions"] == 1:
        return 1  # a single readout is linear
    irreps = str(config.get("MLP_irreps", "16x0e"))
    parsed = e3nn.Irreps(irreps)
    if parsed.dim != parsed.count("0e") or parsed.dim > EnergyReadout.hidden:
        raise ConfigError(
            f"MLP_irreps {irreps} are not supported; needed at most {EnergyReadout.hidden} scalars"
        )
    return int(parsed.dim)


def constants(made: Architecture) -> dict[str, Any]:
    """Returns, by name in the state dict, the numbers that are fixed here."""
    backbone = made.backbone
    cutoff, size, power = backbone["cutoff"], backbone["bessel"], backbone["cutoff_power"]
    order, radii = np.arange(1, size + 1), distance.covalent_radii()
    basis, transform = "radial_embedding.bessel_fn", "radial_embedding.distance_transform"
    return {
        "atomic_numbers": made.numbers,
        "r_max": cutoff,
        "num_interactions": backbone["layers"],
        f"{basis}.r_max": cutoff,
        f"{basis}.prefactor": (2.0 / cutoff) ** 0.5,
        f"{basis}.bessel_weights": order * np.pi / cutoff,
        f"{basis}.gaussian_weights": np.linspace(0.0, cutoff, size),
        f"{basis}.n": order,
        "radial_embedding.cutoff_fn.p": power,
        "radial_embedding.cutoff_fn.r_max": cutoff,
        f"{transform}.q": distance.AGNESI_Q,
        f"{transform}.p": distance.AGNESI_P,
        f"{transform}.a": distance.AGNESI_A,
        f"{transform}.alpha": distance.SOFT_STEEPNESS,
        f"{transform}.covalent_radii": radii,
        "pair_repulsion_fn.p": power,
        "pair_repulsion_fn.c": [c for c, _ in repulsion.SCREENING],
        "pair_repulsion_fn.a_exp": repulsion.CHARGE_POWER,
        "pair_repulsion_fn.a_prefactor": repulsion.LENGTH_PREFACTOR,
        "pair_repulsion_fn.covalent_radii": radii,
    }
