"""What a calculator is not told is refused; earlier labels go; why frames were dropped is said."""

import sys
import types

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from electrojax.data.making.calculators import label_with_calculator, label_with_tblite
from electrojax.data.making.labelling import label_file, run_recipe
from electrojax.errors import ConfigError, DataError

EMT = "ase.calculators.emt.EMT"
PLAIN = "counting_calculators.Counting"


class Counting(Calculator):
    """Counts its calculations; fails for helium, and has no number for neon."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own form
    done = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        Counting.done += 1
        if "He" in atoms.symbols:
            raise CalculationFailed(f"no convergence after\n{len(atoms)} atoms")
        energy = np.nan if "Ne" in atoms.symbols else 2.0
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    module = types.ModuleType("counting_calculators")
    module.Counting = Counting
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Counting, "done", 0)


def hydrogen(**info):
    return Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.75]], info=info)


# --- what the calculator is not told ----------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"total_charge": 1}, "has total_charge 1, which the calculator"),
        ({"multiplicity": 3}, "has multiplicity 3, which the calculator"),
        ({"external_field": np.array([0, 0, 0.1])}, r"has external_field \[0.0, 0.0, 0.1\], which"),
    ],
)
def test_what_a_calculator_is_not_told_is_refused_before_any_label(info, message, tmp_path):
    ase.io.write(tmp_path / "open.xyz", [hydrogen(), hydrogen(**info)], format="extxyz")
    with pytest.raises(DataError, match=rf"^open\.xyz frame 1: {message}.*label with tblite"):
        label_file(tmp_path / "open.xyz", tmp_path / "out.xyz", PLAIN)
    assert Counting.done == 0
    assert not (tmp_path / "out.xyz").exists()


def test_neutral_singlets_without_a_field_are_labelled():
    info = {"total_charge": 0, "multiplicity": 1.0, "external_field": np.zeros(3)}
    (labelled,), dropped = label_with_calculator([hydrogen(**info)], PLAIN)
    assert dropped == {} and labelled.info["REF_energy"] == 2.0
    assert labelled.info.keys() == {*info, "REF_energy"}


def test_a_charge_among_the_options_is_the_charge_of_the_labelled_frames():
    ion = Atoms("Na", cell=np.eye(3) * 10, info={"total_charge": 1})
    options = {"method": "GFN1-xTB", "charge": 1, "multiplicity": 1, "verbosity": 0}
    bare = Atoms("Na", cell=np.eye(3) * 10)
    frames, _ = label_with_calculator([ion, bare], "tblite.ase.TBLite", options)
    expected = label_with_tblite(Atoms("Na", info={"total_charge": 1})).info["REF_energy"]
    for labelled in frames:
        assert labelled.info["REF_energy"] == pytest.approx(expected, abs=1e-5)
        assert labelled.info["total_charge"] == labelled.info["multiplicity"] == 1
    other = Atoms("Na", info={"total_charge": -1})
    with pytest.raises(DataError, match="frame 1: has total_charge -1, but options tell .* 1;"):
        label_with_calculator([ion, other], "tblite.ase.TBLite", options)
    with pytest.raises(ConfigError, match='option "charge": needed a number, got "much"'):
        label_with_calculator([hydrogen()], PLAIN, {"charge": "much"})


def test_tblite_checks_every_frame_before_the_first_is_labelled(monkeypatch):
    def never(*arguments):
        raise AssertionError("labelled before all frames were checked")

    monkeypatch.setattr("electrojax.data.making.calculators._tblite_results", never)
    with pytest.raises(DataError, match="frame 1: H2: total_charge 1 and multiplicity 1"):
        label_with_calculator([hydrogen(), hydrogen(total_charge=1, multiplicity=1)])
    with pytest.raises(DataError, match=r"frame 1 \(H2\): tblite failed with ValueError.*much"):
        label_with_calculator([hydrogen(), hydrogen(total_charge="much")])


# --- labels of an earlier level ---------------------------------------------------------------


@pytest.mark.parametrize("calculator", ["tblite", PLAIN])
def test_labels_of_an_earlier_level_go_and_inputs_stay(calculator):
    atoms = molecule("H2O")
    atoms.info.update(REF_energy=-1.0, REF_polarizability=np.eye(3), total_charge=0, split="train")
    earlier = {"REF_charges": (3,), "REF_bec": (3, 9), "REF_other": (3,), "REF_forces": (3, 3)}
    for name, shape in earlier.items():
        atoms.set_array(name, np.full(shape, 7.0))
    atoms.set_array("fragment", np.array([2, 2, 2]))
    (labelled,), _ = label_with_calculator([atoms], calculator)
    fresh, _ = label_with_calculator([molecule("H2O")], calculator)
    there = {k for k in (*labelled.info, *labelled.arrays) if k.startswith("REF_")}
    assert there == {k for k in (*fresh[0].info, *fresh[0].arrays) if k.startswith("REF_")}
    assert labelled.info["REF_energy"] == fresh[0].info["REF_energy"]
    np.testing.assert_array_equal(labelled.arrays["REF_forces"], fresh[0].arrays["REF_forces"])
    assert labelled.info["split"] == "train" and labelled.info["total_charge"] == 0
    np.testing.assert_array_equal(labelled.arrays["fragment"], [2, 2, 2])
    # the caller's frame is as it was
    assert atoms.info["REF_energy"] == -1.0 and set(earlier) < set(atoms.arrays)


# --- why frames were dropped ------------------------------------------------------------------


def test_the_first_frame_dropped_for_each_reason_is_told():
    lines = []
    frames = [Atoms(symbols) for symbols in ("H", "He2", "Ne", "He", "Ne")]
    kept, dropped = label_with_calculator(frames, PLAIN, report=lines.append)
    assert len(kept) == 1 and dropped == {"not_converged": 2, "not_finite": 2}
    assert lines == [
        "first not_converged: frame 1: no convergence after 2 atoms",
        "first not_finite: frame 2: Ne: energy or forces are no numbers",
    ]


def test_an_element_without_parameters_is_no_matter_of_convergence():
    with pytest.raises(DataError, match=r"frame 1 \(Na\): .*EMT failed with .*potential for Na"):
        label_with_calculator([Atoms("Cu"), Atoms("Na")], EMT)


def test_a_file_of_which_nothing_is_labelled_says_why(tmp_path):
    ase.io.write(tmp_path / "in.xyz", [Atoms("He")], format="extxyz")
    with pytest.raises(DataError, match="none of the frames; .*no convergence after 1 atoms"):
        label_file(tmp_path / "in.xyz", tmp_path / "out.xyz", PLAIN)


# --- files ------------------------------------------------------------------------------------


def test_files_that_exist_are_kept_unless_forced(tmp_path):
    source = tmp_path / "x.xyz"
    ase.io.write(source, hydrogen(), format="extxyz")
    before = source.read_bytes()
    with pytest.raises(ConfigError, match=r"x\.xyz: exists already and is kept; --force"):
        label_file(source, source, PLAIN)
    assert source.read_bytes() == before and Counting.done == 0
    assert label_file(source, source, PLAIN, force=True).kept == 1
    assert ase.io.read(source).info["REF_energy"] == 2.0


@pytest.mark.parametrize("existing", ["set.xyz.gz", "set.json"])
def test_a_recipe_replaces_neither_of_its_files(tmp_path, existing, monkeypatch):
    (tmp_path / existing).write_text("before")
    with pytest.raises(ConfigError, match=f"{existing}: exists already and is kept"):
        run_recipe("ion_water", tmp_path / "set.xyz.gz")
    assert [path.name for path in tmp_path.iterdir()] == [existing]

    def reached(*arguments):
        raise DataError("sampling began")

    monkeypatch.setattr("electrojax.data.making.labelling.produce", reached)
    with pytest.raises(DataError, match="sampling began"):
        run_recipe("ion_water", tmp_path / "set.xyz.gz", force=True)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_holds_no_structures(tmp_path, text):
    (tmp_path / "empty.xyz").write_text(text)
    with pytest.raises(DataError, match=r"empty\.xyz: holds no structures; needed an extxyz"):
        label_file(tmp_path / "empty.xyz", tmp_path / "out.xyz", PLAIN)
