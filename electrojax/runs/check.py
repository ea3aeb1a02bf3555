"""What ``electrojax check`` prints: everything that is known before training."""

from typing import Any

import jax
import numpy as np

from electrojax.data.dataset import census
from electrojax.runs.build import Job, build_training
from electrojax.system.composition import symbols
from electrojax.training.step import Controls


def describe_job(job: Job) -> str:
    """Returns the census of every split, atomic energies, batches and memory of a job, as text."""
    parts = [f"configuration  {job.run.files[0]}: correct; run folder {job.folder}"]
    for name, frames in job.frames.items():
        parts.append(f"{name} set\n{_indented(str(census(frames)))}")
    parts.append("atomic energies (eV)\n" + _indented(_energies(job)))
    parts.append("batches\n" + _indented("\n".join(_batches(job))))
    if sums := coulomb_sums(job):
        parts.append("coulomb sums\n" + _indented("\n".join(sums)))
    parts.append("memory\n" + _indented(memory(job)))
    parts += [f"warning: {text}" for text in job.warnings]
    return "\n".join(parts)


def coulomb_sums(job: Job) -> list[str]:
    """Returns how the Coulomb energy is summed under each boundary, a line each."""
    frames = [frame for part in job.frames.values() for frame in part]
    wanted = job.potential.method
    accuracy = job.run.config.model.coulomb.accuracy
    lines = []
    for boundary, (method, cost) in job.potential.coulomb_cost(frames).items():
        if boundary == "open":
            lines.append(f"open: every pair of atoms, {cost:.2g} pairs per structure")
            continue
        engine = job.potential.network.engine(boundary)
        reach = engine.pair_cutoff(job.run.config.model.density.l_max)
        pairs = f", pairs within {reach:g} Å" if reach else ""
        lines.append(
            f"{boundary}: {method} (method {wanted}, accuracy {accuracy:g}{pairs}), about "
            f"{cost:.2g} phases (k-vector times atom) per structure"
        )
    return lines


def memory(job: Job) -> str:
    """Returns the memory of the largest training step, as the compiler plans it."""
    state, stages, _ = build_training(job)
    batch, _ = max(job.loaders["train"].epoch(0), key=lambda item: item[0].system.n_edges)
    dtype = job.potential.dtype
    plans = []
    for step in dict.fromkeys(stage.train_step for stage in stages):
        terms = [s.weights.items() for s in stages if s.train_step is step]
        weights = {name: np.asarray(w, dtype) for items in terms for name, w in items if w}
        controls = Controls(np.asarray(stages[0].learning_rate(0.0), dtype), weights)
        compiled: Any = step
        plans.append(compiled.lower(state, batch, controls).compile().memory_analysis())
    total = max(p.temp_size_in_bytes + p.argument_size_in_bytes for p in plans) / 2**20
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    device = jax.devices()[0].device_kind
    return f"training step {total:.0f} MiB on {device}; {parameters} parameters"


def _energies(job: Job) -> str:
    statistics = job.potential.statistics
    pairs = zip(symbols(statistics.numbers), statistics.atomic_energies)
    return "  ".join(f"{symbol} {energy:.6f}" for symbol, energy in pairs)


def _batches(job: Job) -> list[str]:
    lines = []
    for name, loader in job.loaders.items():
        edges = sum(sample.system.n_edges for sample in job.samples[name])
        lines.append(
            f"{name}: {len(job.samples[name])} structures, {edges} edges, {len(loader)} batches"
        )
    capacities = {b.system.n_edges: b for b, _ in job.loaders["train"].epoch(0)}
    lines += [
        f"shape: {b.system.n_nodes} atoms, {n} edges, {b.system.n_graphs} structures"
        for n, b in sorted(capacities.items())
    ]
    return lines


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
