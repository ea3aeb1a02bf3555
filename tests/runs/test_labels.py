"""What configuration and data decide about labels is decided before there is a run folder."""

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
train: {epochs: 1, loss: {LOSS}}
"""


def water(rng, pbc=False, **info):
    atoms = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], pbc=pbc)
    atoms.positions += 0.02 * rng.normal(size=(3, 3))
    if pbc:
        atoms.cell = 7.0 * np.eye(3)
    atoms.info.update({"REF_energy": -470.0 + rng.normal(), **info})
    atoms.arrays["REF_forces"] = rng.normal(size=(3, 3))
    return atoms


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def build(train, valid, loss="energy: 1", more="", solver="none", stop=None):
        ase.io.write("train.xyz", train)
        ase.io.write("valid.xyz", valid)
        text = RUN.replace("SOLVER", solver).replace("LOSS", loss).replace("MORE", more)
        if stop:
            text = text.replace(
                "epochs: 1,", f"epochs: 1, early_stop: {{metric: {stop}, patience: 3}},"
            )
        (tmp_path / "run.yaml").write_text(text)
        made = open_job("run.yaml", ())
        assert not (tmp_path / "runs").exists()
        return made

    return build


STRESS = {"REF_stress": 0.1 * np.eye(3).ravel()}


def test_a_stress_of_open_frames_alone_is_no_label(rng, job):
    frames = [water(rng, **STRESS) for _ in range(3)]
    with pytest.raises(ConfigError, match=r"run\.yaml:\d+  train\.\S*loss\.stress .* is open"):
        job(frames, frames, "energy: 1, stress: 1")
    mixed = [*frames, water(rng, pbc=True, **STRESS)]
    assert len(job(mixed, mixed, "energy: 1, stress: 1").frames["train"]) == 4


def test_the_gap_of_levels_at_fixed_potential_trains_on_nothing(rng, job):
    frames = [water(rng, REF_fermi_level=-4.0) for _ in range(3)]
    more = "model: {solver: {kind: scf, charge_control: CONTROL}}"
    job(frames, frames, "legendre_gap: 1", more.replace("CONTROL", "fixed_charge"), "scf")
    with pytest.raises(ConfigError, match=r"loss\.legendre_gap .* fixed potential"):
        job(frames, frames, "legendre_gap: 1", more.replace("CONTROL", "fixed_potential"), "scf")


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("valid/charges_rmse", "predicts no charges"),
        ("valid/stress_rmse", "no validation frame has a label of stress where it is defined"),
    ],
)
def test_early_stop_needs_a_metric_that_is_measured(rng, job, stop, reason):
    frames = [water(rng, **STRESS) for _ in range(3)]
    with pytest.raises(ConfigError, match=rf"train\.early_stop\.metric .*{reason}"):
        job(frames, frames, stop=stop)
    job(frames, frames, stop="valid/forces_rmse_relative")


def test_early_stop_on_orders_of_multipoles(rng, job):
    def labelled(size):
        frames = [water(rng) for _ in range(3)]
        for atoms in frames:
            atoms.arrays["REF_multipoles"] = rng.normal(size=(3, size))
        return frames

    both = labelled(4)
    job(both, both, "multipoles: 1", solver="local", stop="valid/multipoles_l1_mae")
    for frames, order in ((labelled(1), 1), (labelled(9), 2)):
        with pytest.raises(ConfigError, match=f"no order l = {order}"):
            job(frames, frames, "energy: 1", solver="local", stop=f"valid/multipoles_l{order}_rmse")


def test_what_early_stop_watches_is_predicted(rng, job):
    frames = [water(rng, REF_polarizability=np.eye(3).ravel()) for _ in range(3)]
    made = job(frames, frames, solver="qeq", stop="valid/polarizability_rmse")
    assert made.potential.responses == ("polarizability",)
    assert job(frames, frames, solver="qeq").potential.responses == ()


def test_the_validation_loss_needs_a_label(rng, job):
    silent = water(rng)
    del silent.info["REF_energy"]
    more = "  require: [forces]"
    with pytest.raises(ConfigError, match=r"data\.valid .*valid/loss .* never measured"):
        job([water(rng)] * 2, [silent], more=more)
    job([water(rng)] * 2, [silent], "forces: 1", more)
    with pytest.raises(ConfigError, match=r"data\.valid .*weight above 0"):
        job([water(rng)] * 2, [water(rng, config_weight=0.0)])


def test_frames_of_weight_zero_are_left_out_of_training(rng, job):
    frames = [water(rng, config_weight=w) for w in (0.0, 2.0, 1.0)]
    outlier = frames[0].info["REF_energy"] = 1e4
    made = job(frames, frames[1:])
    assert [frame.weight for frame in made.frames["train"]] == [2.0, 1.0]
    assert max(made.potential.statistics.atomic_energies) < outlier / 10
    assert "1 frames of the training file have weight 0" in made.warnings[0]
    with pytest.raises(ConfigError, match=r"data\.train .*no frames left"):
        job(frames[:1], frames[1:])


def atom(symbol, energy, pbc=False, **info):
    atoms = ase.Atoms(symbol, [[0, 0, 0]], pbc=pbc, cell=12 * np.eye(3))
    atoms.info.update({"REF_energy": energy, **info})
    atoms.arrays["REF_forces"] = np.zeros((1, 3))
    return atoms


ISOLATED = "  atom_energies: {mode: isolated}"


def test_isolated_atoms_of_the_training_file_give_the_atomic_energies(rng, job):
    waters = [water(rng) for _ in range(3)]
    distractors = [atom("O", -1.0, pbc=True), atom("O", -2.0, total_charge=1.0)]
    atoms = [atom("H", -13.6), atom("O", -430.0, config_weight=0.0)]
    made = job([*waters, *atoms, *distractors], waters, more=ISOLATED)
    assert made.potential.statistics.atomic_energies == (-13.6, -430.0)


def test_isolated_atoms_that_lack_or_contradict_are_refused(rng, job):
    waters = [water(rng) for _ in range(3)]
    with pytest.raises(ConfigError, match=r"data\.atom_energies\.mode .*no isolated atom of O"):
        job([*waters, atom("H", -13.6)], waters, more=ISOLATED)
    twice = [*waters, atom("H", -13.6), atom("O", -430.0), atom("H", -13.5)]
    with pytest.raises(ConfigError, match=r"two energies for one H .*frame 3.*frame 5"):
        job(twice, waters, more=ISOLATED)
    given = "  atom_energies: {mode: isolated, given: {O: -430.0}}"
    made = job([*waters, atom("H", -13.6)], waters, more=given)
    assert made.potential.statistics.atomic_energies == (-13.6, -430.0)
    with pytest.raises(ConfigError, match=r"two energies for one O .*atom_energies\.given"):
        job([*waters, atom("H", -13.6), atom("O", -431.0)], waters, more=given)
