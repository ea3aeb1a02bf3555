"""Energy + forces of water-like charges: our direct sum and mesh beside jax-pme and torch-pme.

Smooth rows: Gaussians of width σ, no real-space part anywhere; the peers get σ√2 as smearing and no
pairs, which is the same sum. Point rows: charges of no width, with each package's own split. Every
row carries its RMS force error over the RMS force, against a converged sum of ours. float64,
median of calls after compilation, neighbour lists given. The peers are optional installs
(``jax-pme``, ``torch-pme`` with ``torch==2.13.0``); what is absent is a row that says so.
"""

import math
import os
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suites.speed import water_box
from electrojax.electrostatics.ewald import EwaldCoulomb
from electrojax.electrostatics.mesh import MeshCoulomb
from electrojax.electrostatics.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.periodic import PeriodicCoulomb
from electrojax.system.batching import build_sample, capacity_for, collate
from electrojax.system.types import Frame
from electrojax.typing import replace
from electrojax.units import COULOMB

EDGES = {1029: 7, 5184: 12, 20577: 19, 81000: 30, 107811: 33}
WIDTH = 1.5
PEER_CUTOFF, PEER_SMEARING, PEER_SPACING = 6.0, 1.2, 0.9
"""Å, of the peers' point charges: the fastest settings found at which P3M of order 4 has force
errors of a few 1e-5 (they make about two points per spacing, rounded up to powers of two)."""
PEER_SMOOTH_SPACING = 0.9
EWALD_WAVELENGTH = 0.9
POINT_ACCURACY = 4e-4
"""Requested of ours; the measured errors of water-like charges are 10-50 times smaller."""

Call = Callable[[], tuple[object, object]]


def structure(atoms: int, l_max: int) -> tuple[Frame, np.ndarray]:
    """Returns a box of water-like molecules and its multipoles."""
    frame = water_box(EDGES[atoms])
    charges = np.tile([-0.8, 0.4, 0.4], atoms // 3)[:, None]
    rest = 0.1 * np.random.default_rng(1).normal(size=(atoms, (l_max + 1) ** 2 - 1))
    return frame, np.concatenate([charges, rest], axis=1)


def our_call(engine, frame: Frame, multipoles: np.ndarray, width: float, dtype=np.float64):
    """Returns a compiled function of nothing for energy and gradient, and its memory in GiB."""
    l_max = math.isqrt(multipoles.shape[1]) - 1
    box = engine.k_box(frame.cell, width, l_max)
    sample = build_sample(frame, 0.5, box, engine.pair_cutoff(l_max))
    system = jax.device_put(collate([sample], capacity_for([sample]), dtype).system)
    missing = system.n_nodes - len(multipoles)
    p = jnp.asarray(np.pad(multipoles, ((0, missing), (0, 0))).astype(dtype))

    def energy(positions, system, p):
        return engine.prepare(replace(system, positions=positions), l_max, width).energy(p).sum()

    function = jax.jit(jax.value_and_grad(energy))
    compiled = function.lower(system.positions, system, p).compile()
    usage = compiled.memory_analysis()
    bytes_used = usage.temp_size_in_bytes + usage.argument_size_in_bytes
    return lambda: compiled(system.positions, system, p), bytes_used / 2**30


def jaxpme_call(method: str, frame: Frame, charges: np.ndarray, smooth: bool):
    """Returns energy and gradient by jax-pme."""
    import ase
    import jaxpme

    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    maker = getattr(jaxpme, method)
    calculator = (
        maker(prefactor=COULOMB)
        if method == "Ewald"
        else maker(prefactor=COULOMB, interpolation_nodes=4)
    )
    settings = _peer_settings(method, smooth)
    inputs = list(calculator.prepare(atoms, charges, *settings[:3]))
    if smooth:
        inputs[3:6] = [inputs[3][:0], inputs[4][:0], inputs[5][:0]]
    inputs = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
    inputs[0], inputs[2] = inputs[0].astype(float), inputs[2].astype(float)
    smearing, rest = inputs[7], inputs[8:]
    function = jax.jit(
        lambda r: calculator.energy_forces(*inputs[:2], r, *inputs[3:7], smearing, *rest[:0])
    )
    return lambda: _negated(function(inputs[2]))


def _negated(result):
    return result[0], -result[1]


def _peer_settings(method: str, smooth: bool) -> tuple[float, float, float]:
    """Cutoff, mesh spacing (or shortest wave) and smearing."""
    if smooth:
        wave = math.pi * WIDTH / 3.9
        return (1.0, wave if method == "Ewald" else PEER_SMOOTH_SPACING, WIDTH * math.sqrt(2))
    if method == "Ewald":
        return PEER_CUTOFF, EWALD_WAVELENGTH, PEER_SMEARING
    return PEER_CUTOFF, PEER_SPACING, PEER_SMEARING


def torchpme_call(method: str, frame: Frame, charges: np.ndarray, smooth: bool):
    """Returns energy and gradient by torch-pme."""
    import torch
    import torchpme
    import vesin

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_default_dtype(torch.float64)
    cutoff, spacing, smearing = _peer_settings(method, smooth)
    potential = torchpme.CoulombPotential(smearing=smearing)
    if method == "Ewald":
        calculator = torchpme.EwaldCalculator(potential, lr_wavelength=spacing)
    else:
        kind = getattr(torchpme, f"{method}Calculator")
        calculator = kind(potential, mesh_spacing=spacing, interpolation_nodes=4)
    calculator.to(dtype=torch.float64)
    found = vesin.NeighborList(cutoff=cutoff, full_list=False).compute(
        frame.positions, frame.cell, True, quantities="ijS"
    )
    first, second, shifts = [torch.tensor(x[:0] if smooth else x) for x in found]
    first, second = first.long(), second.long()
    cell, q = torch.tensor(frame.cell), torch.tensor(charges)[:, None]
    offsets, pairs = shifts.double() @ cell, torch.stack([first, second], dim=1)

    def call():
        r = torch.tensor(frame.positions, requires_grad=True)
        distances = torch.linalg.norm(r[second] - r[first] + offsets, dim=1)
        energy = COULOMB * (q * calculator(q, cell, r, pairs, distances)).sum()
        energy.backward()
        return energy.detach(), r.grad

    return call


def timed(call: Call, repeats: int) -> tuple[float, np.ndarray]:
    """Returns the median time in ms and the gradient."""
    result = jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), np.asarray(result[1], np.float64)


def error_of(gradient: np.ndarray, reference: np.ndarray) -> float:
    """Returns the RMS force error over the RMS force."""
    difference = gradient[: len(reference)] - reference
    return float(np.sqrt(np.mean(difference**2) / np.mean(reference**2)))


def smooth_rows(atoms: int, l_max: int, peers: bool = True, direct: bool = True) -> Iterator[dict]:
    """Rows of Gaussians of one width."""
    frame, p = structure(atoms, l_max)
    base = {"case": f"gaussians {WIDTH} Å l={l_max}", "atoms": atoms}
    exact = PeriodicCoulomb(1e-10) if atoms < 30000 else MeshCoulomb(1e-9)
    reference = timed(our_call(exact, frame, p, WIDTH)[0], 0 + 1)[1][:atoms]
    engines = {"mesh": MeshCoulomb(1e-5)} | ({"direct": PeriodicCoulomb(1e-5)} if direct else {})
    for name, engine in engines.items():
        call, memory = our_call(engine, frame, p, WIDTH)
        yield base | row(f"electrojax {name}", call, reference, 7) | {"GiB": memory}
    if atoms == 20577:
        call = our_call(MeshCoulomb(1e-5), frame, p, WIDTH, np.float32)[0]
        yield base | row("electrojax mesh float32", call, reference, 7)
    if peers and l_max == 0:
        yield from peer_rows(base, frame, p[:, 0], True, reference)


def point_rows(atoms: int) -> Iterator[dict]:
    """Rows of point charges."""
    frame, p = structure(atoms, 0)
    base = {"case": "points", "atoms": atoms}

    def tuned(kind, accuracy):
        return kind(accuracy, self_interaction=False).tuned(atoms, frame.cell, 0.0, 0)

    reference = timed(our_call(tuned(EwaldCoulomb, 1e-8), frame, p, 0.0)[0], 1)[1][:atoms]
    for kind in (MeshEwaldCoulomb, EwaldCoulomb):
        engine = tuned(kind, POINT_ACCURACY)
        call, memory = our_call(engine, frame, p, 0.0)
        name = f"electrojax {kind.__name__} {engine.cutoff:.1f} Å"
        yield base | row(name, call, reference, 7) | {"GiB": memory}
    yield from peer_rows(base, frame, p[:, 0], False, reference)


def peer_rows(base: dict, frame: Frame, charges: np.ndarray, smooth: bool, reference) -> Iterator:
    """Rows of the peers that are installed."""
    for package, maker in (("jax-pme", jaxpme_call), ("torch-pme", torchpme_call)):
        for method in ("P3M", "PME", "Ewald"):
            if method == "Ewald" and len(charges) > (2000 if smooth else 6000):
                continue
            try:
                call = maker(method, frame, charges, smooth)
            except ModuleNotFoundError:
                yield base | {"engine": f"{package} {method}", "absent": True}
                continue
            repeats = 1 if method == "Ewald" and len(charges) > 2000 else 5
            yield base | row(f"{package} {method}", call, reference, repeats)


def row(name: str, call: Call, reference: np.ndarray, repeats: int) -> dict:
    """Returns one timed and checked row."""
    ms, gradient = timed(call, repeats)
    return {
        "engine": name,
        "ms": ms,
        "force_error": error_of(gradient, reference),
        "load": os.getloadavg()[0],
    }


def ratio_rows(atoms: int) -> Iterator[dict]:
    """Multipoles on our mesh beside the peers' meshes for point charges, right after each other."""
    frame, p = structure(atoms, 0)
    engine = MeshEwaldCoulomb(1e-6, self_interaction=False, cutoff=7.0)
    reference = timed(our_call(engine, frame, p, 0.0)[0], 1)[1][:atoms]
    yield from smooth_rows(atoms, 1, False, False)
    base = {"case": "points", "atoms": atoms}
    try:
        calls = {m: jaxpme_call(m, frame, p[:, 0], False) for m in ("P3M", "PME")}
    except ModuleNotFoundError:
        yield base | {"engine": "jax-pme", "absent": True}
        return
    for method, call in calls.items():
        yield base | row(f"jax-pme {method}", call, reference, 5)


def exponents(rows: list[dict]) -> Iterator[dict]:
    """The scaling exponent of the mesh between the smallest and the largest box above 5000."""
    meshed = [r for r in rows if r.get("engine") == "electrojax mesh" and r["atoms"] > 5000]
    for case in sorted({r["case"] for r in meshed}):
        points = sorted((r["atoms"], r["ms"]) for r in meshed if r["case"] == case)
        points = [x for x in points if x[0] < 100_000]
        (n0, t0), (n1, t1) = points[0], points[-1]
        if n1 > n0:
            slope = math.log(t1 / t0) / math.log(n1 / n0)
            yield {"case": f"exponent, {case}", "from": n0, "to": n1, "exponent": slope}


def rows(options: Namespace) -> list[dict]:
    """Returns all rows; ``--only`` takes smooth, points, scaling, ratio or a number of atoms."""
    found: list[dict] = []
    jobs = {f"smooth {n} l={l}": (smooth_rows, (n, l)) for n in (1029, 5184, 20577) for l in (0, 1)}
    jobs |= {f"points {n}": (point_rows, (n,)) for n in (1029, 5184, 20577)}
    jobs |= {f"scaling {n}": (smooth_rows, (n, 1, False, False)) for n in (5184, 81000, 107811)}
    jobs["ratio 20577"] = (ratio_rows, (20577,))
    with jax.enable_x64(True):
        for name, (function, arguments) in jobs.items():
            if options.only and options.only not in name:
                continue
            for found_row in function(*arguments):
                print(found_row, flush=True)
                found.append(found_row)
    return [*found, *exponents(found)]
