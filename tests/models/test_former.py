"""Models of before an option, or another default of it, keep what they had."""

import json
import zipfile

import pytest

from electrojax.models import bundle
from electrojax.models.former import completed, unwritten
from tests.conformance.models import potential


@pytest.mark.parametrize(
    ("solver", "former"),
    [
        ({"kind": "non_scf"}, {"potentials": "absolute"}),
        ({"kind": "non_scf", "potentials": "local"}, {}),
        ({"kind": "scf"}, {"energy": "coulomb"}),
        ({"kind": "scf", "energy": "functional"}, {}),
        ({"kind": "scf", "response": "free", "energy": "quadratic"}, {"potentials": "absolute"}),
        ({"kind": "qeq"}, {"hardness_floor": 0.0}),
        ({"kind": "functional", "hardness_floor": 0.1}, {}),
        ({"kind": "local"}, {}),
    ],
)
def test_what_is_not_written_is_as_it_was(solver, former):
    assert unwritten({"solver": solver}) == former
    assert completed({"solver": solver, "density": {}}) == {
        "solver": {**solver, **former},
        "density": {},
    }


def test_an_older_bundle_keeps_absolute_potentials(x64, tmp_path):
    model = potential("light", "non-scf")
    assert model.network.solver.potentials == "local"
    new, old = tmp_path / "new.ejx", tmp_path / "old.ejx"
    bundle.save(model, new)
    assert bundle.load(new).network.solver.potentials == "local"
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == bundle.MANIFEST:
                manifest = json.loads(content)
                manifest["model"]["solver"].pop("potentials", None)
                content = json.dumps(manifest).encode()
            target.writestr(name, content)
    loaded = bundle.load(old)
    assert loaded.network.solver.potentials == "absolute"
    assert loaded.config["solver"]["potentials"] == "absolute"
