"""A structure in, a labelled structure out: GFN1-xTB through tblite, or any ASE calculator.

tblite and ASE are imported only where they are used. All labels are in eV, Å and e:

- ``REF_energy`` eV, ``REF_forces`` [N, 3] eV/Å, ``REF_stress`` [3, 3] eV/Å³ (periodic only);
- ``REF_dipole`` [3] e·Å about the origin of the positions, which matters for ions;
- ``REF_charges`` [N] e, ``REF_multipoles`` [N, 4] = [q, d_y, d_z, d_x] in e and e·Å, with
  ``REF_dipole = sum_i q_i r_i + d_i``;
- ``REF_fermi_level`` eV: the chemical potential of the electrons, mu = -dE/dQ.

In an ``external_field`` (V/Å, the physical field E) the potential is zero at the origin of the
positions, the energy contains -E·D with the dipole D above, and the forces of a structure sum to
Q E: dE/dE_a = -D_a.
"""

import contextlib
import difflib
import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electrojax.errors import ConfigError, ConvergenceError, DataError
from electrojax.units import BOHR, HARTREE

if TYPE_CHECKING:
    from ase import Atoms

KELVIN = 3.166808578545117e-6
"""Boltzmann's constant in Hartree/K, the value of tblite."""

ATOM_MULTIPLICITIES = {"H": 2, "C": 3, "N": 4, "O": 3, "Na": 2, "Cl": 2}
"""Ground-state multiplicities of the neutral atoms."""

TOLD = {"total_charge": ("charge", "total_charge"), "multiplicity": ("multiplicity", "mult")}
"""Inputs of a frame, and the options under which ASE calculators are told them."""

UNTOLD = {"total_charge": 0.0, "multiplicity": 1.0}
"""What an ASE calculator that is told nothing computes with."""

FAILURES = (NotImplementedError, ValueError, KeyError, TypeError, AttributeError, OSError)
"""What ASE's calculators raise for a frame they cannot do, such as an element without parameters
(NotImplementedError, which is a RuntimeError, the base of their errors of convergence)."""

DECIMALS = 8


def label_with_tblite(
    atoms: "Atoms",
    method: str = "GFN1-xTB",
    accuracy: float = 0.01,
    electronic_temperature: float = 300.0,
) -> "Atoms":
    """Return a copy of an open-boundary structure with the labels listed at the top of the module.

    Atomic charges and dipoles are the Mulliken ones of the xTB density (C. Bannwarth et al., JCTC
    15, 1652 (2019), eq. 26), which sum to the molecular dipole exactly. The Fermi level is the
    middle between the highest occupied and the lowest empty orbital: by Janak's theorem
    (Phys. Rev. B 18, 7165 (1978)) their energies are the one-sided slopes of E(-Q), and the middle
    is the zero-temperature limit of the level of a Fermi distribution.

    Args:
        atoms: positions in Å; `info` may hold `total_charge` (e, default 0), `multiplicity`
            (default the lowest) and `external_field` ([3] V/Å, default none).
        method: GFN1-xTB or GFN2-xTB.
        accuracy: tblite's factor on its thresholds; smaller is tighter.
        electronic_temperature: K.

    Raises:
        ConfigError: tblite is not installed, or does not know the method.
        DataError: the structure is periodic, or its charge and multiplicity do not go together.
        ConvergenceError: the self-consistent charges did not converge.
    """
    charge, unpaired = _charge_and_unpaired(atoms)
    results = _tblite_results(atoms, charge, unpaired, method, accuracy, electronic_temperature)
    labelled = _unlabelled(atoms)
    labelled.info.update(total_charge=charge, multiplicity=unpaired + 1)
    _store_tblite_labels(labelled, results, unpaired)
    return labelled


def _charge_and_unpaired(atoms: "Atoms") -> tuple[int, int]:
    """Return total charge (e) and number of unpaired electrons of an open structure, checked."""
    if atoms.pbc.any():
        raise DataError(
            f"{atoms.symbols}: calculator tblite labels open structures, got pbc"
            f" {atoms.pbc.tolist()}; name tblite.ase.TBLite as the calculator for energy, forces"
            " and stress"
        )
    charge = float(atoms.info.get("total_charge", 0))
    electrons = int(atoms.numbers.sum()) - charge
    unpaired = int(atoms.info.get("multiplicity", electrons % 2 + 1)) - 1
    if charge != int(charge) or unpaired < 0 or (electrons - unpaired) % 2:
        raise DataError(
            f"{atoms.symbols}: total_charge {charge:g} and multiplicity {unpaired + 1} do not go"
            f" with {electrons:g} electrons; correct either in the frame's header"
        )
    return int(charge), unpaired


def _unlabelled(atoms: "Atoms") -> "Atoms":
    """Return a copy without the labels of an earlier level of theory; inputs stay."""
    copied = atoms.copy()
    for side in (copied.info, copied.arrays):
        for key in [key for key in side if key.startswith("REF_")]:
            del side[key]
    return copied


def _tblite_results(
    atoms: "Atoms", charge: int, unpaired: int, method: str, accuracy: float, temperature: float
) -> Any:
    """Run one single point and return tblite's result container (atomic units)."""
    interface = import_tblite("tblite.interface")
    try:
        calculator = interface.Calculator(
            method, atoms.numbers, atoms.positions / BOHR, charge=charge, uhf=unpaired
        )
    except ValueError as error:
        raise ConfigError(f"tblite: {error}; use GFN1-xTB or GFN2-xTB") from None
    calculator.set("verbosity", 0)
    calculator.set("accuracy", accuracy)
    calculator.set("temperature", temperature * KELVIN)
    field = np.asarray(atoms.info.get("external_field", np.zeros(3)), dtype=float)
    if field.any():
        # tblite's field is the physical one too, in Hartree/(e Bohr).
        calculator.add("electric-field", (field * BOHR / HARTREE).tolist())
    # In this order: with xtbml_xyz first, the molecular dipole is missing from the results.
    calculator.add("molecular-multipoles")
    calculator.add("xtbml_xyz")
    try:
        return calculator.singlepoint()
    except RuntimeError as error:
        raise ConvergenceError(f"{atoms.symbols}: tblite: {error}") from None


def import_tblite(module: str) -> Any:
    """Return a module of tblite; raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"labelling with GFN-xTB needs tblite ({error});"
            " install it with: pip install electrojax[label]"
        ) from None


def _store_tblite_labels(atoms: "Atoms", results: Any, unpaired: int) -> None:
    """Convert tblite's atomic units and store the labels of one structure, rounded for the file."""
    atomic = results.get("post-processing-dict")
    charges = np.asarray(results.get("charges"))
    dipoles = [np.asarray(atomic[f"dipm_A_{axis}"]) * BOHR for axis in "yzx"]
    atoms.info["REF_energy"] = rounded(results.get("energy") * HARTREE)
    atoms.info["REF_dipole"] = rounded(results.get("dipole") * BOHR)
    atoms.info["REF_fermi_level"] = rounded(_fermi_level(results, unpaired) * HARTREE)
    atoms.set_array("REF_forces", rounded(-results.get("gradient") * HARTREE / BOHR))
    atoms.set_array("REF_charges", rounded(charges))
    atoms.set_array("REF_multipoles", rounded(np.stack([charges, *dipoles], axis=1)))


def rounded(value: Any) -> Any:
    """Return a number or an array with the eight decimals that are written to files."""
    # Adding 0.0 turns -0.0 into 0.0.
    rounded = np.round(np.asarray(value, dtype=float), DECIMALS) + 0.0
    return rounded if rounded.ndim else float(rounded)


def _fermi_level(results: Any, unpaired: int) -> float:
    """Return the middle of the HOMO (spin up) and the LUMO (spin down), in Hartree."""
    electrons = round(float(np.sum(results.get("orbital-occupations"))))
    energies = np.sort(np.asarray(results.get("orbital-energies")))
    up, down = (electrons + unpaired) // 2, (electrons - unpaired) // 2
    if up == 0 or down >= len(energies):
        # A bare Na+ has no HOMO, a bare Cl- no LUMO in the minimal basis: the level that exists.
        return float(energies[0] if up == 0 else energies[-1])
    return float(energies[up - 1] + energies[down]) / 2


def atom_energies(
    elements: Sequence[str],
    method: str = "GFN1-xTB",
    accuracy: float = 0.01,
    electronic_temperature: float = 300.0,
) -> dict[str, float]:
    """Return the energies (eV) of isolated neutral atoms in their ground-state multiplicity.

    xTB without spin polarisation knows the multiplicity through the occupations alone: H, Na and
    Cl are doublets, C and O triplets, N a quartet (`ATOM_MULTIPLICITIES`).

    Raises:
        ConfigError: the multiplicity of an element is not known, or as in `label_with_tblite`.
    """
    from ase import Atoms

    check_atoms(elements)
    energies = {}
    for element in elements:
        atom = Atoms(element, info={"multiplicity": ATOM_MULTIPLICITIES[element]})
        labelled = label_with_tblite(atom, method, accuracy, electronic_temperature)
        energies[element] = labelled.info["REF_energy"]
    return energies


def check_atoms(elements: Iterable[str]) -> None:
    """Refuse elements whose isolated atoms `atom_energies` does not know.

    Raises:
        ConfigError: if there is one.
    """
    unknown = sorted(set(elements) - set(ATOM_MULTIPLICITIES))
    if unknown:
        raise ConfigError(
            f"isolated atoms of {', '.join(unknown)} have no multiplicity here; known are"
            f" {', '.join(ATOM_MULTIPLICITIES)}"
        )


def label_with_calculator(
    frames: Sequence["Atoms"],
    calculator: str = "tblite",
    options: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list["Atoms"], dict[str, int]]:
    """Return labelled copies of the frames that converge, and the dropped ones counted by reason.

    Labels that a frame has already (``REF_...``) do not stay beside the new ones. All frames are
    checked before the first is labelled.

    Args:
        frames: structures; ``total_charge``, ``multiplicity`` and ``external_field`` in their
            `info` reach tblite. A calculator given by its path is told none of them: its charge
            and multiplicity come from `options`, and the frames must not say otherwise.
        calculator: ``tblite`` (GFN1-xTB with charges, dipoles and Fermi level), or the dotted path
            of an ASE calculator class, e.g. ``ase.calculators.lj.LennardJones``.
        options: keyword arguments of `label_with_tblite`, or of the class.
        report: called with a line for the first frame that is dropped for each reason.

    Raises:
        ConfigError: the calculator cannot be imported or built, or gives no energy and forces.
        DataError: a frame cannot be calculated for another reason than convergence, or has a
            charge, multiplicity or field that the calculator is not told.
    """
    check, label = _labeller(calculator, dict(options or {}))
    for index, atoms in enumerate(frames):
        with _naming(index, atoms, calculator):
            check(atoms)
    kept: list[Atoms] = []
    dropped: Counter[str] = Counter()
    for index, atoms in enumerate(frames):
        reason, message = "not_finite", f"{atoms.symbols}: energy or forces are no numbers"
        try:
            with _naming(index, atoms, calculator):
                labelled = label(atoms)
            if finite(labelled):
                kept.append(labelled)
                continue
        except (ConvergenceError, RuntimeError) as error:  # base of ASE's CalculatorError too
            reason, message = "not_converged", _one_line(error)
        dropped[reason] += 1
        if dropped[reason] == 1:
            report(f"first {reason}: frame {index}: {message}")
    return kept, dict(dropped)


@contextlib.contextmanager
def _naming(index: int, atoms: "Atoms", calculator: str) -> Iterator[None]:
    """Turn what is no matter of convergence into a DataError that names the frame."""
    try:
        yield
    except DataError as error:
        raise DataError(f"frame {index}: {error}") from None
    except FAILURES as error:
        raise DataError(
            f"frame {index} ({atoms.symbols}): {calculator} failed with"
            f" {type(error).__name__}: {_one_line(error)}"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def finite(atoms: "Atoms") -> bool:
    """Return whether the energy and every force of a labelled frame is a number."""
    forces = np.asarray(atoms.arrays["REF_forces"])
    return bool(np.isfinite(atoms.info["REF_energy"]) and np.isfinite(forces).all())


def _labeller(
    calculator: str, options: dict[str, Any]
) -> tuple[Callable[["Atoms"], object], Callable[["Atoms"], "Atoms"]]:
    """Return what refuses a frame before anything is computed, and what labels it."""
    if calculator == "tblite":
        known = ("method", "accuracy", "electronic_temperature")
        unknown = [key for key in options if key not in known]
        if unknown:
            raise ConfigError(
                f'calculator tblite: unknown option "{unknown[0]}"; known: {", ".join(known)}'
            )
        return _charge_and_unpaired, lambda atoms: label_with_tblite(atoms, **options)
    instance = _import_calculator(calculator, options)
    told = _told(options)
    return (
        lambda atoms: _check_told(atoms, calculator, told),
        lambda atoms: _label_with_ase(atoms, instance, told),
    )


def _told(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the charge and multiplicity that options hand to an ASE calculator."""
    found = [(n, options[k], k) for n, keys in TOLD.items() for k in keys if k in options]
    told: dict[str, float] = {}
    for name, value, key in found:
        try:
            told |= {} if value is None else {name: float(value)}
        except (ValueError, TypeError):
            raise ConfigError(f'option "{key}": needed a number, got "{value}"') from None
    return told


def _check_told(atoms: "Atoms", calculator: str, told: Mapping[str, float]) -> None:
    """Refuse a frame that an ASE calculator would compute as another: its labels would be wrong."""
    for name, untold in UNTOLD.items():
        computed = told.get(name, untold)
        value = float(atoms.info.get(name, computed))
        if value != computed and name in told:
            raise DataError(
                f"has {name} {value:g}, but options tell the calculator {calculator}"
                f" {computed:g}; correct either"
            )
        if value != computed:
            raise DataError(_not_told(f"{name} {value:g}", calculator))
    field = np.asarray(atoms.info.get("external_field", 0.0), dtype=float)
    if field.any():
        raise DataError(_not_told(f"external_field {field.tolist()}", calculator))


def _not_told(quantity: str, calculator: str) -> str:
    return (
        f"has {quantity}, which the calculator {calculator} is not told; label with tblite (the"
        " default), or remove it from the frame"
    )


def _import_calculator(path: str, options: dict[str, Any]) -> Any:
    """Build the ASE calculator that a dotted path names, and check that it gives forces."""
    module_name, _, class_name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
        _refuse_unknown(path, kind, options)
        calculator = kind(**options)
    except (ImportError, AttributeError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f'calculator "{path}" cannot be built: {_one_line(error)}; give tblite, or'
            " the dotted path of an ASE calculator class such as ase.calculators.lj.LennardJones"
        ) from None
    missing = {"energy", "forces"} - set(getattr(calculator, "implemented_properties", ()))
    if missing:
        raise ConfigError(f'calculator "{path}" gives no {" and no ".join(sorted(missing))}')
    return calculator


def _refuse_unknown(path: str, kind: type, options: Mapping[str, Any]) -> None:
    """Refuse options that an ASE calculator would store and never read.

    Calculators that write input files pass on whatever they are given; the program judges it.
    """
    from ase.calculators.calculator import FileIOCalculator

    known = set(getattr(kind, "default_parameters", None) or {})
    if not known or issubclass(kind, FileIOCalculator):
        return
    for parent in kind.__mro__[:-1]:
        known |= set(inspect.signature(vars(parent).get("__init__", object.__init__)).parameters)
    for name in options:
        if name not in known - {"self", "args", "kwargs"}:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f'calculator {path}: unknown option "{name}"; {hint}')


def _label_with_ase(atoms: "Atoms", calculator: Any, told: Mapping[str, float]) -> "Atoms":
    """Label with an ASE calculator; ASE's units are eV, Å and e already."""
    labelled, working = _unlabelled(atoms), _unlabelled(atoms)
    working.calc = calculator
    labelled.info.update(told)
    labelled.info["REF_energy"] = rounded(working.get_potential_energy())
    labelled.set_array("REF_forces", rounded(working.get_forces()))
    available = calculator.implemented_properties
    if "stress" in available and working.pbc.all():
        labelled.info["REF_stress"] = rounded(working.get_stress(voigt=False))
    if "dipole" in available and not working.pbc.any():
        labelled.info["REF_dipole"] = rounded(working.get_dipole_moment())
    if "charges" in available:
        labelled.set_array("REF_charges", rounded(working.get_charges()))
    return labelled
