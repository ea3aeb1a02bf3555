"""The potential: backbone, readout, charge solver and Coulomb engine behind pure init/apply."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict
from flax.traverse_util import flatten_dict

from electrojax.electrostatics.coulomb import (
    Size,
    engines_for,
    estimated_cost,
    method_name,
    shared_engine,
    sum_cell,
)
from electrojax.electrostatics.engines.counter_charge import check_fixed_potential
from electrojax.electrostatics.engines.slab import SlabCoulomb
from electrojax.electrostatics.kernels.plan import replan_needed
from electrojax.errors import ConfigError, DataError
from electrojax.models.conduction import defined_labels
from electrojax.models.network import MATMUL_PRECISIONS, Params, PotentialNetwork, predict_system
from electrojax.models.prediction import Prediction
from electrojax.models.responses import (
    check_names,
    check_responses,
    labelled_responses,
    plan_width,
)
from electrojax.nn.base import BACKBONE_KINDS
from electrojax.nn.embedding import check_tabulated
from electrojax.plugins import Classes, KindTable
from electrojax.solvers.base import check_frame
from electrojax.solvers.problems.diagnostics import LEGENDRE_GAP
from electrojax.solvers.state import ChargeGuess
from electrojax.solvers.table import SOLVER_KINDS
from electrojax.system.batching import (
    CoulombPlan,
    Sample,
    build_sample,
    capacity_for,
    collate,
)
from electrojax.system.composition import check_determined
from electrojax.system.neighbors import complete_cell
from electrojax.system.quantities import ALWAYS
from electrojax.system.slabs import open_axis, with_height
from electrojax.system.types import BOUNDARIES, Boundary, Frame, Statistics, System

COARSEST = 2.5e-4
"""Å, the coarsest coordinates a model computes with; float32 reaches 4096 Å from the middle."""

TYPICAL = 32
"""Structures of a set by which its Coulomb method is chosen."""


@dataclasses.dataclass(frozen=True)
class Potential:
    """A model with its parameters.

    Attributes:
        network: the Flax module.
        params: the parameters that were evaluated (the moving average where one is on).
        statistics: species table, atomic energies and scales.
        config: the ``model`` section of the configuration, every default written out.
        precision: ``float32`` or ``float64``.
        responses: what to predict beside, any of ``electrojax.system.quantities.RESPONSES``.
    """

    network: PotentialNetwork
    params: Params
    statistics: Statistics
    config: Mapping[str, Any]
    precision: str = "float32"
    responses: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype:
        """Precision of inputs, parameters and outputs."""
        return np.dtype(self.precision)

    @property
    def cutoff(self) -> float:
        """Å, the cutoff of the neighbour list."""
        return float(self.config["backbone"]["cutoff"])

    @property
    def method(self) -> str:
        """How periodic systems and slabs are to be summed: ``auto`` or a method's name."""
        return str(self.config["coulomb"].get("method", "auto"))

    @property
    def provides(self) -> tuple[str, ...]:
        """The labels that this model predicts."""
        solver = self.network.solver
        predicted = (*solver.provides, *self.responses, *solver.diagnostics)
        return (*ALWAYS, *predicted)

    def with_responses(self, responses: Sequence[str]) -> "Potential":
        """Returns the potential that also predicts what is named, any of ``RESPONSES``.

        Raises:
            ConfigError: for a response that does not exist.
        """
        return dataclasses.replace(self, responses=check_names(responses))

    def with_labelled_responses(self, frames: Sequence[Frame]) -> "Potential":
        """Returns the potential that also predicts the responses that are labelled in frames."""
        return self.with_responses(
            (*self.responses, *labelled_responses(self.network.solver, frames))
        )

    def with_solver_options(self, **options: Any) -> "Potential":
        """Returns the potential with other runtime options of its charge solver.

        Args:
            options: such as ``gradient`` and ``diagnostics`` of the self-consistent field.
        """
        solver = self.network.solver.clone(**options)
        return dataclasses.replace(self, network=self.network.clone(solver=solver))

    def with_diagnostics(self, names: Sequence[str] = ()) -> "Potential":
        """Returns the potential whose solver says of itself what is named, if it can.

        The Legendre gap, which costs nothing, is always among it.
        """
        wanted = (*names, LEGENDRE_GAP)
        known = self.network.solver.diagnoses
        return self.with_solver_options(diagnostics=tuple(name for name in known if name in wanted))

    def tuned_for(self, frames: Sequence[Frame]) -> "Potential":
        """Returns the potential with its Coulomb engines chosen and tuned for these structures.

        What they do not decide is kept; the results agree to the configured accuracy.
        """
        solver, engines = self.network.solver, self.network.engines
        if not solver.uses_coulomb:
            return self
        boundaries: tuple[Boundary, ...] = ("periodic", "slab")
        for boundary in boundaries:
            sizes = self._sizes(frames, boundary)
            if sizes:
                shared = (_spread(sizes), solver.width, solver.l_max, solver.uses_receivers)
                chosen = shared_engine(engines.of(boundary), self.method, *shared)
                engines = dataclasses.replace(engines, **{boundary: chosen})
        return dataclasses.replace(self, network=self.network.clone(engines=engines))

    def coulomb_cost(self, frames: Sequence[Frame]) -> dict[Boundary, tuple[str, float]]:
        """Returns, by boundary, the method that sums these structures and its estimated cost.

        The cost is that of one application per structure, in phases (k-vector times atom, or pair
        of atoms), of the engines as they are tuned.
        """
        solver = self.network.solver
        found: dict[Boundary, tuple[str, float]] = {}
        if not solver.uses_coulomb:
            return found
        for boundary in BOUNDARIES:
            sizes = self._sizes(frames, boundary)
            if sizes:
                engine = self.network.engine(boundary)
                cost = estimated_cost(engine, _spread(sizes), solver.width, solver.l_max)
                found[boundary] = (method_name(engine), cost / len(_spread(sizes)))
        return found

    def coulomb_plan(
        self, frame: Frame, cell: np.ndarray | None = None, room: float = 0.0
    ) -> CoulombPlan:
        """Returns what the Coulomb sum of a frame has to be given: k-vectors, pairs and cell.

        Args:
            frame: the structure.
            cell: [3, 3] Å of a plan to keep to, if not a new one.
            room: Å, by which a slab may become thicker.
        """
        solver = self.network.solver
        if not solver.uses_coulomb:
            return CoulombPlan()
        engine = self.network.engine(frame.boundary)
        if frame.boundary == "open":
            return CoulombPlan()
        box = self._sum_cell(frame, room) if cell is None else cell
        return CoulombPlan(
            engine.k_box(box, plan_width(solver.width, self.responses), solver.l_max),
            engine.pair_cutoff(solver.l_max),
            box,
        )

    def serves(self, plan: CoulombPlan, frame: Frame) -> bool:
        """Returns whether a plan made for one structure is good for another of that boundary.

        The cell must be close to the plan's, and a slab not thicker than it has room for.
        """
        if plan.cell is None:
            return True
        cell = np.asarray(frame.cell, np.float64)
        if frame.boundary == "slab":
            normal, height = open_axis(cell, frame.normal)[0], open_axis(plan.cell, frame.normal)[1]
            if np.ptp(frame.positions @ normal) > self.thickest(plan, frame):
                return False
            cell = with_height(cell, height, frame.normal)
        return not replan_needed(plan.cell, cell)

    def thickest(self, plan: CoulombPlan, frame: Frame) -> float:
        """Returns how thick in Å a slab may be for a plan; infinite for other boundaries."""
        engine = self.network.engine(frame.boundary)
        if plan.cell is None or not isinstance(engine, SlabCoulomb):
            return math.inf
        height = open_axis(plan.cell, frame.normal)[1]
        return float(height - engine.gap(plan.cell, frame.normal, self.network.solver.width))

    def _sizes(self, frames: Sequence[Frame], boundary: Boundary) -> list[Size]:
        chosen = [f for f in frames if f.boundary == boundary]
        return [(len(f.numbers), self._sum_cell(f)) for f in chosen]

    def _sum_cell(self, frame: Frame, room: float = 0.0) -> np.ndarray:
        """The cell [3, 3] Å in which a frame's Coulomb energy is summed."""
        engine, width = self.network.engine(frame.boundary), self.network.solver.width
        return sum_cell(engine, frame.cell, frame.positions, frame.normal, width, room)

    def sample(self, frame: Frame, plan_cell: np.ndarray | None = None) -> Sample:
        """Returns a frame as an unpadded one-structure System for this model.

        Labels of a polarisation that is undefined for its kind are left out.

        Args:
            frame: the structure.
            plan_cell: [3, 3] Å of a plan to keep to, if not a new one.

        Raises:
            DataError: for elements that the model does not know, or a boundary against the
                configured one.
        """
        self.check(frame)
        control = frame.charge_control or self.config["solver"].get("charge_control", "")
        frame = dataclasses.replace(frame, charge_control=control)
        built = build_sample(frame, self.cutoff, *self.coulomb_plan(frame, plan_cell))
        self._check_resolution(built)
        return defined_labels(self.network.solver, built)

    def _check_resolution(self, sample: Sample) -> None:
        """Refuses a structure so large that distances lose their digits in the model's precision.

        Raises:
            DataError: naming the atom.
        """
        far = np.abs(np.asarray(sample.system.positions)).max(axis=1)
        spacing = float(np.spacing(far.max().astype(self.dtype)))
        if spacing > COARSEST:
            raise DataError(
                f"{sample.source}: atom {int(far.argmax())} is {far.max():.4g} Å from the middle "
                f"of the structure, where {self.precision} distinguishes {spacing:.1g} Å; needed "
                f"at most {COARSEST:.1g} Å: move the atoms together, or compute in float64"
            )

    def check(self, frame: Frame) -> None:
        """Raises a DataError if this model cannot evaluate the frame."""
        check_determined(self.statistics, frame.numbers, frame.source)
        complete_cell(frame.cell, frame.pbc, frame.source)  # refuses cells without volume
        wanted = self.config["coulomb"]["boundary"]
        if wanted not in ("auto", frame.boundary):
            flags = " ".join("T" if p else "F" for p in frame.pbc)
            raise DataError(
                f"{frame.source}: has pbc {flags}, but the model has model.coulomb.boundary "
                f'"{wanted}"; change pbc or use a model with boundary "auto"'
            )
        self._check_control(frame)
        check_tabulated(self.network.backbone, frame)
        kind = self.config["solver"]["kind"]
        check_frame(self.network.solver, kind, frame)
        check_responses(self.responses, self.network.solver, kind, frame)

    def _check_control(self, frame: Frame) -> None:
        control = frame.charge_control or self.config["solver"].get("charge_control", "")
        if control != "fixed_potential":
            return
        try:
            check_fixed_potential(
                frame.boundary, self.config["coulomb"].get("counter_charge", "none")
            )
        except ConfigError as error:
            raise DataError(f"{frame.source}: {error}") from None

    def atomic_energy(self, numbers: np.ndarray) -> float:
        """Returns the sum of the atomic energies of a composition, in eV, in float64."""
        return float(
            np.sum(np.asarray(self.statistics.atomic_energies)[self.statistics.species(numbers)])
        )

    def init(self, seed: int, system: System) -> Params:
        """Returns fresh parameters for the shapes of a batch."""
        init = jax.jit(self.network.init)
        return init(jax.random.key(seed), system)["params"]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every parameter by its path, from a trace that computes nothing."""
        numbers = self.statistics.numbers
        ends = np.array([numbers[0], numbers[-1]])
        places = np.diag([0.5 * self.cutoff, 0.0, 0.0])[:2]
        pair = Frame(ends, places, np.zeros((3, 3)), (False, False, False))
        sample = build_sample(pair, self.cutoff)
        with jax.enable_x64(self.precision == "float64"):
            system = collate([sample], capacity_for([sample]), self.dtype).system
            abstract = jax.eval_shape(self.network.init, jax.random.key(0), system)
        return {
            name: leaf.shape for name, leaf in flatten_dict(abstract["params"], sep="/").items()
        }

    def apply(self, params: Params, system: System, guess: ChargeGuess | None = None) -> Prediction:
        """Returns the prediction for a batch; pure, differentiable, to be called under jit."""
        return predict_system(self.network, params, system, guess, self.responses)


def assemble(
    config: Mapping[str, Any],
    statistics: Statistics,
    precision: str,
    params: Params = None,
    named: Classes | None = None,
) -> Potential:
    """Returns the potential that a complete ``model`` section describes.

    Args:
        config: the section with every default written out: ``backbone``, ``density``, ``coulomb``
            and ``solver``, each table with its ``kind`` where it has one.
        statistics: what was fitted to the training data.
        precision: ``float32`` or ``float64``.
        params: trained parameters, if there are any yet.
        named: classes of kinds that the caller gives; else they are electrojax's own, or those of
            installed packages.

    Raises:
        ConfigError: for a kind or an option that does not exist.
    """
    backbone = _construct(
        BACKBONE_KINDS,
        config["backbone"],
        named,
        num_species=len(statistics.numbers),
        average_neighbors=statistics.average_neighbors,
    )
    density = config["density"]
    solver = _construct(
        SOLVER_KINDS,
        config["solver"],
        named,
        l_max=density["l_max"],
        width=density["width"],
        cutoff=config["backbone"]["cutoff"],
    )
    coulomb = config["coulomb"]
    # Every option but the boundary; what an older model's configuration lacks has its default.
    options = {key: value for key, value in coulomb.items() if key != "boundary"}
    engines = engines_for(**options, **density)
    products = config.get("matmul_precision", MATMUL_PRECISIONS[0])
    network = PotentialNetwork(backbone, solver, statistics, engines, products)
    return Potential(network, params, statistics, config, precision)


def _spread(sizes: Sequence[Size]) -> list[Size]:
    """At most TYPICAL of the structures, evenly spread over their sizes, the largest among them."""
    ordered = sorted(sizes, key=lambda size: size[0], reverse=True)
    return ordered[:: -(-len(ordered) // TYPICAL)]


def _hashable(value: Any) -> Any:
    """A value of the configuration as an option of a module, which must be hashable."""
    if isinstance(value, Mapping):
        return FrozenDict(value)
    return tuple(value) if isinstance(value, list) else value


def _construct(
    table: KindTable, options: Mapping[str, Any], named: Classes | None, **runtime: Any
) -> Any:
    kind, where = options["kind"], f"model.{table.trade}"
    try:
        module = table.find(kind, named)
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    chosen = {k: _hashable(v) for k, v in options.items() if k != "kind"}
    fields = {field.name for field in dataclasses.fields(module)}
    runtime = {name: value for name, value in runtime.items() if name in fields}
    try:
        return module(**chosen, **runtime)
    except TypeError as error:
        raise ConfigError(f"{where}: {error} (kind {kind})") from error
