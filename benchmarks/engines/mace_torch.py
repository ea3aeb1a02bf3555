"""mace-torch, the original: eager as its calculator and its training loop run it."""

import json
from typing import Any

import ase
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric


class Engine:
    """Energy and forces, and a training step with Adam.

    Args:
        cueq: whether its cuEquivariance kernels are used.
    """

    def __init__(self, cueq: bool = False) -> None:
        self.cueq = cueq
        self.place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.calls: dict[str, Any] = {}
        self.found: dict[str, Any] = {}

    def device(self) -> str:
        """Returns the name of the device."""
        return torch.cuda.get_device_name() if self.place.type == "cuda" else "cpu"

    def device_peak(self) -> int | None:
        """Returns the peak memory of the device in bytes since the start; None on the host."""
        return torch.cuda.max_memory_allocated() if self.place.type == "cuda" else None

    def draw(self, model: dict, workload: dict, path: str) -> dict[str, Any]:
        """Writes random weights, and energies and forces in double precision."""
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        config = _config(model)
        network = _build(config)
        state = {f"state:{k}": v.numpy() for k, v in network.state_dict().items()}
        out = network(_batch(config, workload, torch.device("cpu")), compute_stress=False)
        energy, forces = (out[k].detach().numpy() for k in ("energy", "forces"))
        np.savez(path, config=json.dumps(config), energy=energy, forces=forces, **state)
        return {"parameters": sum(p.numel() for p in network.parameters())}

    def prepare(
        self, task: str, model: dict, workload: dict, weights: dict | None
    ) -> dict[str, Any]:
        """Builds model and batch; returns the numbers of edges."""
        torch.set_default_dtype(torch.float64)
        config = _config(model)
        network = _build(config)
        if weights is not None:
            network.load_state_dict(
                {name: torch.as_tensor(weights[f"state:{name}"]) for name in network.state_dict()}
            )
        network = network.float().to(self.place)
        torch.set_default_dtype(torch.float32)
        if self.cueq:
            network = _accelerated(network, self.place)
        batch = _batch(config, workload, self.place)
        make = {"forces": self._forces, "train": self._train}[task.split("_")[0]]
        self.calls[task] = make(network, batch, workload)
        edges = int(batch["edge_index"].shape[1])
        return {"edges": edges, "padded_edges": edges}

    def call(self, task: str) -> None:
        """Does the task once and waits for it."""
        self.calls[task]()
        if self.place.type == "cuda":
            torch.cuda.synchronize()

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the energies and the forces last computed; its atoms have no energies."""
        return tuple(self.found[k].detach().cpu().numpy() for k in ("energy", "forces"))

    def _forces(self, network: torch.nn.Module, batch: dict, workload: dict) -> Any:
        network.eval()
        network.requires_grad_(False)  # as its calculator does

        def predict() -> None:
            self.found = network(batch, compute_stress=False)

        return predict

    def _train(self, network: torch.nn.Module, batch: dict, workload: dict) -> Any:
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        energy, forces = (
            torch.as_tensor(workload[k], dtype=torch.float32, device=self.place)
            for k in ("energy", "forces")
        )
        atoms = workload["numbers"].shape[1]

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            out = network(batch, training=True, compute_stress=False)
            loss = torch.mean(((out["energy"] - energy) / atoms) ** 2)
            loss = loss + 100.0 * torch.mean((out["forces"] - forces.reshape(-1, 3)) ** 2)
            loss.backward()
            optimizer.step()

        return step


def _config(model: dict) -> dict[str, Any]:
    """The arguments of ScaleShiftMACE as plain data, blocks and irreps by name."""
    hidden = [f"{model['channels']}x{l}{'eo'[l % 2]}" for l in range(model["hidden_l_max"] + 1)]
    return {
        "kind": "ScaleShiftMACE",
        "r_max": model["cutoff"],
        "num_bessel": model["bessel"],
        "num_polynomial_cutoff": 5,
        "max_ell": model["l_max"],
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "num_interactions": model["layers"],
        "hidden_irreps": "+".join(hidden),
        "MLP_irreps": "16x0e",
        "atomic_energies": [0.0] * len(model["numbers"]),
        "avg_num_neighbors": model["neighbors"],
        "atomic_numbers": model["numbers"],
        "correlation": model["correlation"],
        "gate": "silu",
        "radial_MLP": model["radial_hidden"],
        "atomic_inter_scale": 1.0,
        "atomic_inter_shift": 0.0,
    }


def _build(config: dict[str, Any]) -> torch.nn.Module:
    arguments = {k: v for k, v in config.items() if k != "kind"}
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = modules.interaction_classes[arguments[name]]
    for name in ("hidden_irreps", "MLP_irreps"):
        arguments[name] = o3.Irreps(arguments[name])
    arguments["gate"] = torch.nn.functional.silu
    arguments["atomic_energies"] = np.array(arguments["atomic_energies"])
    return modules.ScaleShiftMACE(num_elements=len(config["atomic_numbers"]), **arguments)


def _accelerated(network: torch.nn.Module, place: torch.device) -> torch.nn.Module:
    from mace.cli.convert_e3nn_cueq import run

    return run(network, device=place.type, return_model=True).to(place)


def _batch(config: dict[str, Any], workload: dict, place: torch.device) -> dict[str, Any]:
    table = tools.AtomicNumberTable(config["atomic_numbers"])
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(ase.Atoms(n, x, cell=c, pbc=True)),
            z_table=table,
            cutoff=config["r_max"],
        )
        for n, x, c in zip(workload["numbers"], workload["positions"], workload["cell"])
    ]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs))
    return next(iter(loader)).to(place).to_dict()
