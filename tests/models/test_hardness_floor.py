"""Hardnesses have a floor, which models of before it do not get."""

import json
import zipfile

import pytest

from electrojax.models import bundle
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
