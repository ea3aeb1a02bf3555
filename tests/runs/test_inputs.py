"""What of a file is not read, or lacks, is said before training; what is embedded is required."""

import ase
import ase.io
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.runs.build import open_job

RUN = """
include: [model/light, solver/SOLVER]
run: {name: small}
data:
  train: {path: train.xyz}
  valid: {path: valid.xyz}
MORE
train: {epochs: 1, loss: {energy: 1, forces: 1}}
"""


def water(rng, **info):
    atoms = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms.positions += 0.02 * rng.normal(size=(3, 3))
    atoms.info.update({"REF_energy": -470.0 + rng.normal(), "total_charge": 0.0, **info})
    atoms.arrays["REF_forces"] = rng.normal(size=(3, 3))
    return atoms


def without(atoms, *names):
    for name in names:
        atoms.info.pop(name, None)
        atoms.arrays.pop(name, None)
    return atoms


@pytest.fixture
def warnings(tmp_path, monkeypatch, rng):
    """The warnings of a job, less those on atomic energies and the solver."""
    monkeypatch.chdir(tmp_path)

    def read(train, valid=None, solver="local", more=""):
        ase.io.write("train.xyz", train)
        ase.io.write("valid.xyz", valid or [water(rng)])
        (tmp_path / "run.yaml").write_text(RUN.replace("SOLVER", solver).replace("MORE", more))
        found = open_job("run.yaml", ()).warnings
        other = ("the training compositions", "solver kind")
        return [text for text in found if not text.startswith(other)]

    return read


def misnamed(rng):
    return [without(water(rng, charge=1, spin=2, comment="x"), "total_charge") for _ in range(3)]


def test_a_whole_file_has_nothing_to_warn_of(rng, warnings):
    assert warnings([water(rng) for _ in range(3)]) == []


def test_names_that_are_not_read_are_listed_with_near_ones(rng, warnings):
    assert warnings(misnamed(rng)) == [
        "train.xyz: not read: charge (data.keys.total_charge?), spin (data.keys.multiplicity?), "
        "comment; total_charge in 0 of 3 frames, 0 is taken"
    ]
    keys = "  keys: {total_charge: charge, multiplicity: spin}"
    valid = [water(rng, charge=0, spin=1)]
    assert warnings(misnamed(rng), valid, more=keys) == [
        "train.xyz: not read: comment",
        "valid.xyz: not read: total_charge",
    ]
    both = [water(rng, charge=1) for _ in range(2)]  # total_charge is there: no hint
    assert warnings(both) == ["train.xyz: not read: charge"]


def test_files_that_lack_the_same_share_a_line(rng, warnings):
    frames = [[water(rng, source_index=i) for i in range(n)] for n in (3, 2)]
    assert warnings(*frames) == ["train.xyz, valid.xyz: not read: source_index"]


def test_inputs_and_labels_of_some_frames_are_counted(rng, warnings):
    frames = [water(rng) for _ in range(6)]
    mixed = [*frames[:3], *(without(f, "total_charge") for f in frames[3:])]
    without(mixed[5], "REF_forces")
    text = (
        "train.xyz: total_charge in 3 of 6 frames, 0 is taken for the others; "
        "forces in 5 of 6 frames"
    )
    some = "  require: [energy]"
    assert warnings(mixed, more=some) == [text]
    assert warnings(mixed, solver="none", more=some) == ["train.xyz: forces in 5 of 6 frames"]
    spin = warnings([water(rng), water(rng)], solver="non_scf")
    assert spin == [f"{name}.xyz: multiplicity in 0 of {n} frames, 1 is taken"
                    for name, n in (("train", 2), ("valid", 1))]  # fmt: skip


def test_embedded_inputs_must_be_given(rng, warnings):
    states = "model: {backbone: {states: [total_charge, multiplicity]}}"
    with pytest.raises(ConfigError, match=r"run\.yaml:\d+  model\.backbone\.states .*train\.xyz "
                       r'frame 0: gives no total_charge.*0 of 3 .* has "charge"'):  # fmt: skip
        warnings(misnamed(rng), more=states)
    mixed = [water(rng, multiplicity=1), water(rng)]
    with pytest.raises(ConfigError, match=r"frame 1: gives no multiplicity.*1 of 2 .*add it \(1"):
        warnings(mixed, more=states)
    whole = [water(rng, multiplicity=1) for _ in range(2)]
    with pytest.raises(ConfigError, match=r"valid\.xyz frame 0: gives no multiplicity"):
        warnings(whole, more=states)
    assert warnings(whole, whole[:1], more=states) == [
        "1 of 1 frames of valid are in train too (first: valid.xyz frame 0 is train.xyz frame 0)"
    ]


def test_implausible_labels_are_one_line(rng, warnings):
    frames = [water(rng) for _ in range(4)]
    for atoms in frames[1:]:
        atoms.arrays["REF_charges"] = np.full(3, 0.3)
    frames[3].info["multiplicity"] = 2
    (line,) = warnings(frames)
    assert line.startswith(
        "implausible: charge sums of 3 frames (train.xyz frame 1: charges sum to 0.9 e, "
        "total_charge is 0); electrons of 1 frames (train.xyz frame 3: 10 electrons have no"
    )


def test_evaluation_names_inputs_alone(rng, tmp_path):
    """Of a file to evaluate, names beside the inputs are nobody's concern."""
    from electrojax.data.reader import read_frames
    from electrojax.runs.inputs import reading_warnings
    from electrojax.system.quantities import INPUTS
    from tests.conformance.models import potential

    ase.io.write(tmp_path / "a.xyz", misnamed(rng))
    ase.io.write(tmp_path / "b.xyz", [water(rng, energy_of_dft=1.0, comment="x")])
    files = {name: read_frames(tmp_path / name) for name in ("a.xyz", "b.xyz")}
    model = potential("light", "local", "float64")
    assert reading_warnings(files, model, quantities=tuple(INPUTS)) == [
        "a.xyz: not read: charge (data.keys.total_charge?), spin (data.keys.multiplicity?); "
        "total_charge in 0 of 3 frames, 0 is taken"
    ]


def test_what_else_a_built_in_set_says_is_not_complained_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = open_job("configs/quickstart.yaml", [])
    assert not [text for text in job.warnings if "not read" in text]
