"""Reads a model file of mace-torch: its weights as arrays, how it was built as plain data."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.errors import ConfigError, DataError

DANGER = (
    "a model file of mace-torch is a pickle, and opening a pickle runs whatever program its author "
    "put into it, with your rights"
)
KINDS = ("MACE", "ScaleShiftMACE", "MACELES", "PolarMACE")
BASES = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
TRANSFORMS = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}


def open_model(path: str | os.PathLike, trust: bool = False) -> Any:
    """Returns the torch module that a file of mace-torch holds.

    Args:
        path: a file that mace-torch saved, with the whole model in it.
        trust: whether the file may run code, as opening it does.

    Raises:
        DataError: if the file is missing, may not be opened or holds no model.
        ConfigError: if torch or mace-torch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; needed a model saved by mace-torch")
    if not trust:
        raise DataError(
            f"{path}: not opened: {DANGER}; if you know where the file comes from and trust it, "
            "repeat the command with --trust"
        )
    import_package(
        "mace", "mace-torch"
    )  # first: it tells torch how e3nn's constants are to be read
    torch = import_package("torch", "torch")
    _provide_maceles()
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{path}: needs the package {error.name}, which is not installed; "
            + ("it is at https://github.com/ChengUCB/les" if error.name == "les" else "install it")
        ) from error
    except Exception as error:
        # Whatever the file's own code raises: a pickle may contain any program.
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: torch cannot open it as a model ({reason})") from error
    if not hasattr(model, "state_dict"):
        weights = " (weights alone, or a checkpoint of a training)" * isinstance(model, dict)
        raise DataError(
            f"{path}: holds a {type(model).__name__}{weights}, not a model; needed the file that "
            "mace-torch writes as NAME.model, which says how the model is built"
        )
    return model


def _provide_maceles() -> None:
    """Lets files of the fork of mace that had MACELES first find the class where it is now."""
    models, extensions = (
        import_package(f"mace.modules.{name}", "mace-torch") for name in ("models", "extensions")
    )
    if not hasattr(models, "MACELES") and hasattr(extensions, "MACELES"):
        models.MACELES = extensions.MACELES


def state_arrays(model: Any) -> dict[str, np.ndarray]:
    """Returns the state dict of a torch module as NumPy arrays."""
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def configuration(model: Any) -> dict[str, Any]:
    """Returns how a MACE, ScaleShiftMACE, MACELES or PolarMACE was built, as its class takes it.

    Irreps are strings; interactions, readout and activation are given by name.

    Args:
        model: the torch module.

    Raises:
        ConfigError: for a module of another kind, or one whose layers differ.
    """
    kind = type(model).__name__
    if kind not in KINDS:
        raise ConfigError(f"a {kind} of mace-torch is not supported; needed {', '.join(KINDS)}")
    interactions, products = list(model.interactions), list(model.products)
    layers, heads = len(interactions), list(getattr(model, "heads", None) or ["Default"])
    later = interactions[1:] or interactions
    readouts = list(model.readouts)
    last = readouts[-1]
    return {
        "kind": kind,
        **_radial(model),
        "max_ell": interactions[0].edge_attrs_irreps.lmax,
        "interaction_cls_first": type(interactions[0]).__name__,
        "interaction_cls": _same("interactions", [type(block).__name__ for block in later]),
        "num_interactions": layers,
        "hidden_irreps": str(products[0].linear.irreps_out),
        "edge_irreps": _text(getattr(model, "edge_irreps", None)),
        "MLP_irreps": _readout_irreps(last, len(heads)),
        "gate": _gate(last),
        "readout_cls": type(last).__name__,
        "avg_num_neighbors": _same(
            "avg_num_neighbors", [float(block.avg_num_neighbors) for block in interactions]
        ),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "correlation": [_correlation(block) for block in products],
        "radial_MLP": [int(width) for width in interactions[0].conv_tp_weights.hs[1:-1]],
        "heads": heads,
        "use_so3": bool(getattr(model, "use_so3", False)),
        "use_edge_irreps_first": bool(getattr(model, "use_edge_irreps_first", False)),
        "use_agnostic_product": bool(getattr(products[0], "use_agnostic_product", False)),
        "use_last_readout_only": layers > 1 and len(readouts) == 1,
        "use_embedding_readout": hasattr(model, "embedding_readout"),
        "embedding_specs": _specs(model),
        "cueq_config": _text(getattr(products[0], "cueq_config", None)),
        "pair_repulsion": hasattr(model, "pair_repulsion_fn"),
        "keep_last_layer_irreps": products[-1].linear.irreps_out.lmax > 0,
        **(_polar(model) if kind == "PolarMACE" else {}),
        **({"les": _les(model)} if kind == "MACELES" else {}),
    }


def _specs(model: Any) -> dict[str, dict[str, Any]] | None:
    specs = getattr(model, "embedding_specs", None)
    return None if not specs else {str(name): dict(spec) for name, spec in specs.items()}


def _les(model: Any) -> dict[str, Any]:
    """Options of the package les: those of its sum, of its Born charges, and its switches."""
    les = model.les
    switches = {name: bool(value) for name, value in vars(les).items() if name.startswith("use_")}
    return {
        **switches,
        "sigma": float(les.ewald.sigma),
        "norm_factor": float(les.ewald.norm_factor),
        "remove_self_interaction": bool(les.ewald.remove_self_interaction),
        "remove_mean": bool(les.bec.remove_mean),
        "epsilon_factor": float(les.bec.epsilon_factor),
        "normalization_factor": float(les.bec.normalization_factor),
    }


def _polar(model: Any) -> dict[str, Any]:
    """Arguments of PolarMACE; what says how its sums are evaluated is left out."""
    updates = {type(block).__name__ for block in model.field_dependent_charges_maps}
    embeddings = {
        type(block.potential_embedding).__name__ for block in model.field_dependent_charges_maps
    }
    changed = {"type": updates, "potential_embedding_cls": embeddings}
    return {
        "atomic_multipoles_max_l": int(model.atomic_multipoles_max_l),
        "atomic_multipoles_smearing_width": float(model.atomic_multipoles_smearing_width),
        "field_feature_max_l": int(model.field_feature_max_l),
        "field_feature_widths": [float(width) for width in model.field_feature_widths],
        "num_recursion_steps": int(model.num_recursion_steps),
        "field_si": bool(model.field_si),
        "include_electrostatic_self_interaction": bool(
            model.include_electrostatic_self_interaction
        ),
        "add_local_electron_energy": bool(getattr(model, "add_local_electron_energy", False)),
        "fixedpoint_update_config": {
            key: _same(key, sorted(names)) for key, names in changed.items() if names
        },
        "field_readout_config": {"type": type(model.local_electron_energy).__name__},
    }


def _radial(model: Any) -> dict[str, Any]:
    radial = model.radial_embedding
    basis = type(radial.bessel_fn).__name__
    transform = getattr(radial, "distance_transform", None)
    name = type(transform).__name__
    return {
        "r_max": float(model.r_max),
        "num_bessel": int(radial.out_dim),
        "num_polynomial_cutoff": int(radial.cutoff_fn.p),
        "radial_type": BASES.get(basis, basis),
        "distance_transform": "None" if transform is None else TRANSFORMS.get(name, name),
        "apply_cutoff": bool(getattr(radial, "apply_cutoff", True)),
    }


def _correlation(product: Any) -> int:
    return int(product.symmetric_contractions.contractions[0].correlation)


def _readout_irreps(readout: Any, heads: int) -> str:
    """Hidden irreps of one head; the module has those of all heads together."""
    hidden = getattr(readout, "hidden_irreps", None)
    if hidden is None:  # linear
        return "1x0e"
    return f"{hidden.dim // heads}x0e" if hidden.lmax == 0 else str(hidden)


def _gate(readout: Any) -> str:
    acts = getattr(getattr(readout, "non_linearity", None), "acts", None)
    if acts is None:  # a linear readout has none, and none is asked for
        return "silu"
    return str(getattr(getattr(acts[0], "f", acts[0]), "__name__", "unknown"))


def _same(name: str, values: Sequence[Any]) -> Any:
    if len(set(values)) > 1:
        found = ", ".join(map(str, values))
        raise ConfigError(f"{name} of the layers differ ({found}); needed the same in every layer")
    return values[0]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def import_package(name: str, package: str) -> Any:
    """Returns a module of an optional package.

    Args:
        name: of the module.
        package: that has it.

    Raises:
        ConfigError: if it is not installed, saying how it is.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"reading models of mace-torch needs {package} ({error}); "
            "install the extra: pip install 'electrojax[torch]'"
        ) from error
