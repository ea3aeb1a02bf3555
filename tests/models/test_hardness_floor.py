"""Hardnesses have a floor, which models of before it do not get."""

import dataclasses
import json
import zipfile

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from electrojax import testing
from electrojax.config.resolve import load_run
from electrojax.errors import ConfigError
from electrojax.models import bundle
from electrojax.models.predict import predict_frames
from tests.conformance.models import potential


@pytest.mark.parametrize("solver", ["qeq", "functional"])
def test_an_older_bundle_has_no_floor(solver, x64, tmp_path):
    model = potential("light", solver)
    assert model.network.solver.hardness_floor == 0.1
    new, old = tmp_path / "new.ejx", tmp_path / "old.ejx"
    bundle.save(model, new)
    assert bundle.load(new).network.solver.hardness_floor == 0.1
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == bundle.MANIFEST:
                manifest = json.loads(content)
                del manifest["model"]["solver"]["hardness_floor"]
                content = json.dumps(manifest).encode()
            target.writestr(name, content)
    assert bundle.load(old).network.solver.hardness_floor == 0.0


def softest(solver: str, floor: float):
    """A model whose learned hardnesses have come to nothing."""
    model = potential("light", solver)
    params = flatten_dict(jax.tree.map(np.asarray, model.params), sep="/")
    tables = [n for n in params if "/hardness/element_" in n]
    assert len(tables) == 2
    for name in tables:
        params[name] = np.full_like(params[name], -200.0)
    network = model.network.clone(solver=model.network.solver.clone(hardness_floor=floor))
    return dataclasses.replace(model, params=unflatten_dict(params, sep="/"), network=network)


@pytest.mark.parametrize("solver", ["qeq", "functional"])
def test_weights_that_would_run_away_stay_finite(solver, x64):
    """E ≥ ½ f |p|² − |d||p| for a floor f: the minimum is no farther than 2 |d|/f from zero."""
    frame = testing.cluster(np.random.default_rng(3), n=6, total_charge=0.0)
    sizes = {}
    for floor in (10.0, 1.0, 0.1):
        (found,) = predict_frames(softest(solver, floor), [frame])
        assert found.converged and np.isfinite(found.energy) and np.all(np.isfinite(found.forces))
        sizes[floor] = np.linalg.norm(found.multipoles)
    # Where the floor holds everything, p is proportional to 1/f at most.
    assert sizes[10.0] < sizes[1.0] < sizes[0.1]
    assert sizes[0.1] < 10.0 * sizes[1.0] < 100.0 * sizes[10.0]


RUN = """
include: [model/light, solver/SOLVER]
run: {name: small}
data: {train: {path: train.xyz}}
model: {solver: {hardness_floor: FLOOR}}
train: {epochs: 1, loss: {energy: 1}}
"""


@pytest.mark.parametrize("solver", ["qeq", "functional"])
@pytest.mark.parametrize("floor", [-0.1, 2e4, 0.0, 1e4])
def test_the_floor_has_bounds(solver, floor, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(RUN.replace("SOLVER", solver).replace("FLOOR", str(floor)))
    if 0 <= floor <= 1e4:
        assert load_run(path).config.model.solver.options()["hardness_floor"] == floor
        return
    with pytest.raises(ConfigError, match=r"run\.yaml:5  model\.solver\.hardness_floor"):
        load_run(path)
