"""What `electrojax check` says of the Coulomb sums, from the job that training would use."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

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
