"""What `electrojax check` says of the Coulomb sums, from the job that training would use."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from electrojax.config.resolve import load_run, resolved_yaml
from electrojax.runs.build import open_job
from electrojax.runs.check import coulomb_sums

RUN = """
include: [model/light, solver/local]
run: {name: small}
data:
  train: {path: boxes.xyz}
model: {density: {width: 0.3}, coulomb: {method: METHOD}}
train: {epochs: 1}
"""


def boxes(rng: np.random.Generator) -> list[ase.Atoms]:
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 2.5
    made = []
    for _ in range(3):
        atoms = ase.Atoms("H2O" * 9, grid + 0.1 * rng.normal(size=grid.shape), pbc=True)
        atoms.cell = np.eye(3) * rng.uniform(7.5, 9.0)
        atoms.info["REF_energy"] = rng.normal()
        atoms.arrays["REF_forces"] = rng.normal(size=grid.shape)
        made.append(atoms)
    made[2].pbc = False
    return made


@pytest.mark.parametrize(("method", "chosen"), [("auto", "direct"), ("ewald", "ewald")])
def test_the_sums_of_a_job(tmp_path: Path, rng: np.random.Generator, method: str, chosen: str):
    ase.io.write(tmp_path / "boxes.xyz", boxes(rng))
    (tmp_path / "run.yaml").write_text(RUN.replace("METHOD", method))
    job = open_job(tmp_path / "run.yaml", ())
    first, second = coulomb_sums(job)
    assert first == "open: every pair of atoms, 7.3e+02 pairs per structure"
    assert second.startswith(f"periodic: {chosen} (method {method}, accuracy 1e-05")
    paired = [sample.system.n_pairs > 0 for sample in job.samples["train"]]
    assert paired == [chosen == "ewald"] * 2 + [False]
    cutoff = job.potential.network.engine("periodic").pair_cutoff(1)
    assert ("pairs within" in second) == (cutoff > 0) == (chosen == "ewald")
    batches = [batch.system for batch, _ in job.loaders["train"].epoch(0)]
    real = sum(int(system.pair_mask.sum()) for system in batches)
    assert real == sum(sample.system.n_pairs for sample in job.samples["train"])


def test_a_resolved_file_of_an_older_version_is_warned_of(tmp_path: Path, rng: np.random.Generator):
    """Solver options that it lacks have another default now; those that it has are its own."""
    ase.io.write(tmp_path / "boxes.xyz", boxes(rng)[:1])
    text = RUN.replace("METHOD", "auto").replace("solver/local", "solver/non_scf")
    (tmp_path / "run.yaml").write_text(text)
    written = resolved_yaml(load_run(tmp_path / "run.yaml").config)
    assert "potentials: local" in written
    lacking = "".join(x for x in written.splitlines(True) if "potentials:" not in x)
    (tmp_path / "resolved.yaml").write_text(lacking)
    (warning,) = load_run(tmp_path / "resolved.yaml").changed_defaults()
    assert "model.solver.potentials" in warning and "write potentials: absolute" in warning
    kept = load_run(tmp_path / "resolved.yaml", ["model.solver.potentials=absolute"])
    assert not kept.changed_defaults()
    (tmp_path / "resolved.yaml").write_text(written)
    assert not load_run(tmp_path / "resolved.yaml").changed_defaults()
