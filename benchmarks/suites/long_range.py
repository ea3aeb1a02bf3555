"""Energy + forces of water-like charges: our direct sum and mesh beside jax-pme and torch-pme.

Smooth rows: Gaussians of width σ, no real-space part anywhere; the peers get σ√2 as smearing and no
pairs, which is the same sum. Point rows: charges of no width, with each package's own split. Every
row carries its RMS force error over the RMS force, against a converged sum of ours. float64, calls
after compilation, neighbour lists given. Engines of one case take turns, so that a busy machine
slows all of them: ``ms`` is the fastest call, ``median`` the median one and ``cpu_ms`` the least
processor time of a call on all cores, which other processes disturb least. The peers are optional
installs (``jax-pme``, ``torch-pme`` with ``torch==2.13.0``); what is absent is a row that says so.
"""

import itertools
import math
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suites.speed import water_box
from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.mesh import MeshCoulomb
from electrojax.electrostatics.engines.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.system.batching import build_sample, capacity_for, collate
from electrojax.system.types import Frame
from electrojax.typing import replace
from electrojax.units import COULOMB

EDGES = {81: 3, 192: 4, 375: 5, 648: 6, 1029: 7, 5184: 12, 20577: 19, 81000: 30, 107811: 33}
WIDTH = 1.5
PEER_CUTOFF, PEER_SMEARING, PEER_SPACING = 6.0, 1.2, 0.9
"""Å, of the peers' point charges: the fastest settings found at which P3M of order 4 has force
errors of a few 1e-5 (they make about two points per spacing, rounded up to powers of two)."""
PEER_SMOOTH_SPACING = 0.9
EWALD_WAVELENGTH = 0.9
MESH_ACCURACY, SPLIT_ACCURACY = 4e-4, 1e-4
"""Requested of ours for point charges; the measured errors of water are 10-50 times smaller."""
ROUNDS = 6

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


def timed(calls: dict[str, Call], rounds: int = ROUNDS) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns wall and processor times [calls, 2] in ms and the gradient; the calls take turns.

    A call of more than ten seconds is repeated once only.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    gradients = {}
    for name, call in calls.items():
        result = jax.block_until_ready(call())
        gradients[name] = np.asarray(result[1], np.float64)
    for _ in range(rounds):
        for name, call in calls.items():
            if times[name] and times[name][0][0] > 1e4:
                continue
            start = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            stop = time.perf_counter(), time.process_time()
            times[name].append((1e3 * (stop[0] - start[0]), 1e3 * (stop[1] - start[1])))
    return {name: (np.array(times[name]), gradients[name]) for name in calls}


def error_of(gradient: np.ndarray, reference: np.ndarray) -> float:
    """Returns the RMS force error over the RMS force."""
    difference = gradient[: len(reference)] - reference
    return float(np.sqrt(np.mean(difference**2) / np.mean(reference**2)))


def smooth_rows(atoms: int, l_max: int, peers: bool = True, direct: bool = True) -> Iterator[dict]:
    """Rows of Gaussians of one width."""
    frame, p = structure(atoms, l_max)
    base = {"case": f"gaussians {WIDTH} Å l={l_max}", "atoms": atoms}
    exact = PeriodicCoulomb(1e-10) if atoms < 30000 else MeshCoulomb(1e-9)
    reference = gradient_of(exact, frame, p, WIDTH)
    engines = {"mesh": MeshCoulomb(1e-5)} | ({"direct": PeriodicCoulomb(1e-5)} if direct else {})
    made = {f"electrojax {n}": our_call(e, frame, p, WIDTH) for n, e in engines.items()}
    if atoms == 20577:
        made["electrojax mesh float32"] = our_call(engines["mesh"], frame, p, WIDTH, np.float32)
    found = peer_calls(frame, p[:, 0], True) if peers and l_max == 0 else {}
    yield from rows_of(base, made, found, reference)


def point_rows(atoms: int) -> Iterator[dict]:
    """Rows of point charges, and of our multipoles on a mesh in turn with them."""
    frame, p = structure(atoms, 0)

    def tuned(kind, accuracy):
        return kind(accuracy, self_interaction=False).tuned_for(atoms, frame.cell, 0.0, 0)

    reference = gradient_of(tuned(MeshEwaldCoulomb, 1e-8), frame, p, 0.0)
    engines = [tuned(MeshEwaldCoulomb, MESH_ACCURACY), tuned(EwaldCoulomb, SPLIT_ACCURACY)]
    made = {
        f"electrojax {type(e).__name__} {e.cutoff:.1f} Å": our_call(e, frame, p, 0.0)
        for e in engines
    }
    dipoles = structure(atoms, 1)[1]
    extra = {"multipoles": our_call(MeshCoulomb(1e-5), frame, dipoles, WIDTH)[0]}
    found = peer_calls(frame, p[:, 0], False)
    yield from rows_of({"case": "points", "atoms": atoms}, made, found, reference, extra)


def gradient_of(engine, frame: Frame, multipoles: np.ndarray, width: float) -> np.ndarray:
    """Returns the gradient of one engine."""
    gradient = our_call(engine, frame, multipoles, width)[0]()[1]
    return np.asarray(gradient)[: len(multipoles)]


def peer_calls(frame: Frame, charges: np.ndarray, smooth: bool) -> dict[str, Call | None]:
    """Returns the calls of the peers by name; none for those that are absent."""
    calls: dict[str, Call | None] = {}
    for package, maker in (("jax-pme", jaxpme_call), ("torch-pme", torchpme_call)):
        for method in ("P3M", "PME", "Ewald"):
            if method == "Ewald" and len(charges) > (2000 if smooth else 6000):
                continue
            try:
                calls[f"{package} {method}"] = maker(method, frame, charges, smooth)
            except ModuleNotFoundError:
                calls[f"{package} {method}"] = None
    return calls


def rows_of(
    base: dict, ours: dict, peers: dict, reference: np.ndarray, multipoles: dict | None = None
) -> Iterator[dict]:
    """Rows of all calls with the ratios of their times, wall and processor; l = 1 has no error."""
    calls = {name: call for name, (call, _) in ours.items()}
    calls |= {name: call for name, call in peers.items() if call} | (multipoles or {})
    results = timed(calls)
    least = {name: times.min(axis=0).tolist() for name, (times, _) in results.items()}
    for name, (times, gradient) in results.items():
        shown = {"engine": name, "ms": least[name][0], "median": float(np.median(times[:, 0]))}
        shown |= {"cpu_ms": least[name][1], "load": os.getloadavg()[0]}
        if name == "multipoles":
            shown |= {"case": f"gaussians {WIDTH} Å l=1 beside points", "engine": "electrojax mesh"}
        else:
            shown["force_error"] = error_of(gradient, reference)
        others = peers if name not in peers else ours
        shown |= {
            f"over {n}": [a / b for a, b in zip(least[name], least[n])]
            for n in others
            if n in least
        }
        yield base | shown | ({"GiB": ours[name][1]} if name in ours else {})
    yield from (base | {"engine": n, "absent": True} for n, call in peers.items() if not call)


def crossover(rows: list[dict]) -> Iterator[dict]:
    """Where the mesh takes less processor time than the direct sum, between two sizes of boxes."""
    names = ("electrojax mesh", "electrojax direct")
    times: dict[str, dict[int, float]] = {name: {} for name in names}
    for r in rows:
        if r["case"] == f"gaussians {WIDTH} Å l=1" and r.get("engine") in times:
            times[r["engine"]][r["atoms"]] = r["cpu_ms"]
    mesh, direct = times.values()
    ratios = {n: direct[n] / mesh[n] for n in sorted(set(mesh) & set(direct))}
    for low, high in itertools.pairwise(ratios):
        if ratios[low] < 1 <= ratios[high]:
            yield {
                "case": "crossover of direct sum and mesh",
                "from": low,
                "to": high,
                "direct_over_mesh": ratios,
            }


def exponents(rows: list[dict]) -> Iterator[dict]:
    """The scaling exponent of the mesh between the smallest and the largest box above 5000."""
    meshed = [r for r in rows if r.get("engine") == "electrojax mesh" and r["atoms"] > 5000]
    for case in sorted({r["case"] for r in meshed}):
        points = sorted((r["atoms"], r["ms"], r["cpu_ms"]) for r in meshed if r["case"] == case)
        points = [x for x in points if x[0] < 100_000]
        first, last = points[0], points[-1]
        if last[0] > first[0]:
            slopes = [math.log(last[i] / first[i]) / math.log(last[0] / first[0]) for i in (1, 2)]
            found = {"exponent": slopes[0], "cpu_exponent": slopes[1]}
            yield {"case": f"exponent, {case}", "from": first[0], "to": last[0]} | found


def rows(options: Namespace) -> list[dict]:
    """Returns all rows; ``--only`` takes smooth, points, scaling, small or a number of atoms."""
    found: list[dict] = []
    jobs = {f"points {n}": (point_rows, (n,)) for n in (1029, 5184, 20577)}
    jobs |= {
        f"smooth {n} l={l}": (smooth_rows, (n, l)) for n in (1029, 5184, 20577) for l in (0, 1)
    }
    jobs |= {f"small {n}": (smooth_rows, (n, 1, False)) for n in (192, 375, 648)}
    jobs |= {f"scaling {n}": (smooth_rows, (n, 1, False, False)) for n in (5184, 81000, 107811)}
    with jax.enable_x64(True):
        for name, (function, arguments) in jobs.items():
            if options.only and options.only not in name:
                continue
            for found_row in function(*arguments):
                print(found_row, flush=True)
                found.append(found_row)
    return [*found, *exponents(found), *crossover(found)]
