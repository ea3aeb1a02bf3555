"""The contract of charge solvers as checks: what :func:`electrojax.testing.check_solver` runs."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax import testing
from electrojax.config.kinds import default_tables
from electrojax.config.resolve import complete_model
from electrojax.models import bundle
from electrojax.models.potential import Potential, assemble
from electrojax.models.prediction import Prediction
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.table import SOLVERS
from electrojax.system.batching import Capacity, capacity_for, collate
from electrojax.system.types import Boundary, Frame, Statistics, System
from electrojax.typing import replace

STATISTICS = Statistics(
    numbers=(1, 8), atomic_energies=(-13.6, -432.0), average_neighbors=4.0, energy_scale=1.3
)
FIELD = np.array([0.05, -0.1, 0.2])
"""V/Å, of structures whose solver feels one."""


def check_solver_with(
    solver: type[ChargeSolver],
    options: Mapping[str, Any],
    boundaries: Sequence[Boundary],
    l_max: int,
    conserves_charge: bool,
    inputs: Mapping[str, Any],
) -> None:
    """Checks a solver under every boundary; see :func:`electrojax.testing.check_solver`."""
    for boundary in boundaries:
        with jax.enable_x64(True):
            model = random_model(solver, options, l_max, "float64")
            case = Case(Program(model), boundary, conserves_charge, inputs)
            for check in CHECKS:
                _named(check, case, boundary)
        _named(float32_agrees, case, boundary)


def _named(check: Callable[["Case"], None], case: "Case", boundary: str) -> None:
    """Runs a check, whose error then says which it was."""
    name = check.__name__.replace("_", " ")
    try:
        check(case)
    except AssertionError as error:
        solver = type(case.model.network.solver).__name__
        raise AssertionError(f"{solver}, boundary {boundary}: not kept: {name}\n{error}") from None


def random_model(
    solver: type[ChargeSolver], options: Mapping[str, Any], l_max: int, precision: str
) -> Potential:
    """Returns a model with parameters of order one, so that every term matters.

    Args:
        solver: the class.
        options: of the solver, as in a training file.
        l_max: of the density.
        precision: ``float32`` or ``float64``; the parameters are the same.
    """
    own = [kind for kind, module in SOLVERS.items() if module is solver]
    kind = own[0] if own else f"{solver.__module__}:{solver.__qualname__}"
    section = {
        "backbone": {"kind": "light", "cutoff": 4.0, "channels": 8, "layers": 2},
        "density": {"l_max": l_max, "width": 1.1},
        "coulomb": {"accuracy": 1e-8},
        "solver": {"kind": kind, **options},
    }
    tables = default_tables().extended("solver", {kind: solver})
    complete, tables = complete_model(section, tables)
    bare = assemble(complete, STATISTICS, precision, named=tables.classes())
    frame = structure("open", 3, {"fermi_level": 0.0})
    sample = bare.sample(frame)
    system = collate([sample], capacity_for([sample]), bare.dtype).system
    shapes = jax.eval_shape(bare.network.init, jax.random.key(0), system)["params"]
    rng = np.random.default_rng(7)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return (0.7 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return dataclasses.replace(bare, params=jax.tree.map(drawn, shapes))


class Program:
    """A jitted prediction that counts how often it is compiled."""

    def __init__(self, model: Potential) -> None:
        self.model, self.traces = model, 0
        self._run = jax.jit(self._apply)

    def _apply(self, params: Any, system: System) -> Prediction:
        self.traces += 1
        return self.model.apply(params, system)

    def __call__(self, system: System, params: Any = None) -> Prediction:
        """Returns the prediction, with other parameters if some are given."""
        return self._run(self.model.params if params is None else params, system)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model under one boundary.

    Attributes:
        run: its program.
        boundary: of the structures.
        conserves_charge: whether charges must sum to the total charge.
        inputs: further inputs of every structure.
    """

    run: Program
    boundary: Boundary
    conserves_charge: bool
    inputs: Mapping[str, Any]

    @property
    def model(self) -> Potential:
        """The model that is checked."""
        return self.run.model

    def frame(self, seed: int = 3, charge: float | None = None) -> Frame:
        """Returns a charged structure, in a field if the solver feels one."""
        felt = self.boundary in self.model.network.solver.field_boundaries
        inputs = {"external_field": FIELD if felt else np.zeros(3), **self.inputs}
        return structure(self.boundary, seed, inputs, charge)

    def batch(self, *frames: Frame, model: Potential | None = None) -> System:
        """Returns structures with padding, in one capacity for all batches."""
        model = model or self.model
        return _collated(model, frames, self._capacity(model))

    def _capacity(self, model: Potential) -> Capacity:
        exact = capacity_for([model.sample(self.frame(seed)) for seed in (3, 11)])
        return dataclasses.replace(
            exact,
            nodes=exact.nodes + 5,
            edges=exact.edges + 30,
            graphs=exact.graphs + 2,
            graph_nodes=exact.graph_nodes + 5,
            pairs=exact.pairs + 5 if exact.pairs else 0,
        )


def _collated(model: Potential, frames: Sequence[Frame], size: Capacity | None) -> System:
    samples = [model.sample(frame) for frame in frames]
    return collate(samples, size or capacity_for(samples), model.dtype).system


def structure(
    boundary: Boundary, seed: int, inputs: Mapping[str, Any], charge: float | None = None
) -> Frame:
    """Returns a structure of hydrogen and oxygen whose formal charges sum to its total charge.

    Args:
        boundary: of the structure.
        seed: of its positions.
        inputs: further fields of the Frame.
        charge: e; one that is not zero where not given.
    """
    rng = np.random.default_rng(seed)
    if boundary == "open":
        frame, total = testing.cluster(rng, n=6, **inputs), 1.0
    else:
        pbc = (True, boundary == "periodic", True)
        frame, total = testing.crystal(rng, n=4, length=4.4, pbc=pbc, **inputs), -1.0
    if boundary == "slab":  # with a vacuum, its normal not along an axis
        frame = dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [3.0], [1.0]]))
    total = total if charge is None else charge
    formal = np.linspace(-1.0, 1.0, len(frame.numbers))
    formal[0] += total
    return dataclasses.replace(frame, total_charge=total, formal_charges=formal)


def forces_are_minus_the_gradient(case: Case) -> None:
    """F = −∂E/∂r by finite differences."""
    frame = case.frame()
    system, atoms = case.batch(frame), len(frame.numbers)

    def energy(positions: np.ndarray) -> float:
        moved = np.concatenate([positions, system.positions[atoms:]])
        return float(case.run(replace(system, positions=moved)).energy[0])

    forces = np.asarray(case.run(system).forces)[:atoms]
    testing.assert_gradient(energy, -forces, np.asarray(system.positions)[:atoms], rtol=1e-6)


def charge_is_conserved(case: Case) -> None:
    """Σ q = Q, whatever the charge."""
    if not case.conserves_charge or "charges" not in case.model.provides:
        return
    totals = (1.0, -2.0)
    frames = [case.frame(seed, total) for seed, total in zip((3, 11), totals)]
    charges, atoms = np.asarray(case.run(case.batch(*frames)).charges), len(frames[0].numbers)
    sums = [charges[:atoms].sum(), charges[atoms:].sum()]
    np.testing.assert_allclose(sums, totals, atol=1e-9, err_msg="sums of the charges, e")


def rotations_and_inversion_turn_the_prediction(case: Case) -> None:
    """Energies stay, forces and dipoles turn with the atoms."""
    frame = case.frame(charge=0.0)
    if not case.conserves_charge:  # a net charge moves in a field
        frame = dataclasses.replace(frame, external_field=np.zeros(3))
    matrix = testing.random_rotation(np.random.default_rng(1), True)
    moved = testing.transformed(frame, matrix, np.array([0.7, -2.0, 1.1]))
    before, after = (case.run(case.batch(each)) for each in (frame, moved))
    _same("energies", after.energy, before.energy)
    _same("forces", after.forces, np.asarray(before.forces) @ matrix.T)
    _same("charges", after.charges, before.charges)
    stress = matrix @ np.asarray(before.stress[0]) @ matrix.T
    _same("stress", after.stress[0], stress)
    if before.density.multipoles.shape[-1] > 1:
        vectors = np.asarray(before.density.multipoles)[..., [3, 1, 2]]  # [q, y, z, x, ...]
        found = np.asarray(after.density.multipoles)[..., [3, 1, 2]]
        _same("atomic dipoles", found, vectors @ matrix.T)


def permutations_permute_the_prediction(case: Case) -> None:
    """The order of the atoms does not matter."""
    frame = case.frame()
    atoms = len(frame.numbers)
    order = np.random.default_rng(2).permutation(atoms)
    before = case.run(case.batch(frame))
    after = case.run(case.batch(testing.permuted(frame, order)))
    _same("energies", after.energy, before.energy)
    for name in ("forces", "charges"):
        found, expected = (np.asarray(getattr(each, name))[:atoms] for each in (after, before))
        _same(name, found, expected[order])


def batch_mates_change_nothing(case: Case) -> None:
    """A structure has the results that it has alone, and padding has none."""
    frame, mate = case.frame(), case.frame(11)
    atoms, others = len(frame.numbers), len(mate.numbers)
    alone = case.run(case.batch(frame))
    for order, graph, first in (((frame, mate), 0, 0), ((mate, frame), 1, others)):
        batch = case.run(case.batch(*order))
        _same("energies", batch.energy[graph], alone.energy[0])
        for name in ("forces", "charges"):
            found, expected = (np.asarray(getattr(each, name)) for each in (batch, alone))
            _same(name, found[first : first + atoms], expected[:atoms])
            _same(f"{name} of padding", found[atoms + others :], 0.0)
        _same("energies of padding", batch.energy[2:], 0.0)
        assert bool(np.all(batch.report.converged)), "a structure of a batch is not converged"


def padding_changes_nothing(case: Case) -> None:
    """A batch without padding has the same results."""
    frame = case.frame()
    atoms = len(frame.numbers)
    padded = case.run(case.batch(frame))
    exact = Program(case.model)(_collated(case.model, [frame], None))
    _same("energies", padded.energy[0], exact.energy[0])
    for name in ("forces", "charges"):
        found, expected = (np.asarray(getattr(each, name)) for each in (padded, exact))
        _same(name, found[:atoms], expected[:atoms])


def a_saved_model_predicts_the_same(case: Case) -> None:
    """The options and parameters are all that there is of a model."""
    solver = type(case.model.network.solver)
    plugins = [] if solver in SOLVERS.values() else [solver]
    with tempfile.TemporaryDirectory() as folder:
        bundle.save(case.model, Path(folder) / "model.ejx")
        loaded = bundle.load(Path(folder) / "model.ejx", plugins)
    assert loaded.network.solver == case.model.network.solver, "another solver comes back"
    system = case.batch(case.frame())
    params = jax.tree.map(np.asarray, loaded.params)
    _same("energies", case.run(system, params).energy, case.run(system).energy)


def one_program_serves_all_batches(case: Case) -> None:
    """Batches of one capacity share a compilation."""
    for seed in (3, 11):
        case.run(case.batch(case.frame(seed)))
    assert case.run.traces == 1, f"compiled {case.run.traces} times"


CHECKS = (
    forces_are_minus_the_gradient,
    charge_is_conserved,
    rotations_and_inversion_turn_the_prediction,
    permutations_permute_the_prediction,
    batch_mates_change_nothing,
    padding_changes_nothing,
    a_saved_model_predicts_the_same,
    one_program_serves_all_batches,
)
"""Of a model in float64, in turn."""


def float32_agrees(case: Case) -> None:
    """Single precision gives the forces of double precision to 3e-4."""
    frame = case.frame()
    with jax.enable_x64(True):
        exact = jax.device_get(case.run(case.batch(frame)))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), case.model.params)
    model = dataclasses.replace(case.model, params=params, precision="float32")
    single = Program(model)(case.batch(frame, model=model))
    assert single.forces.dtype == jnp.float32, f"forces have dtype {single.forces.dtype}"
    scale = float(np.abs(exact.forces).max())
    np.testing.assert_allclose(single.forces, exact.forces, atol=3e-4 * scale, err_msg="forces")
    np.testing.assert_allclose(single.charges, exact.charges, atol=1e-3, err_msg="charges")


def _same(what: str, found: Any, expected: Any) -> None:
    scale = max(1.0, float(np.max(np.abs(np.asarray(expected)), initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale, err_msg=what)
