"""Trains every rule for the charges on the same data (--data DIR) and tabulates the errors.

One table per file of benchmarks/cases/solvers: the file is the common arm, and VARIANTS says what
each row changes in it. The paths in it are taken below the folder given by --data.
"""

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.suites.accuracy import trained

CASES = Path(__file__).resolve().parent.parent / "cases" / "solvers"

LOCAL = {"kind": "local", "charge_control": "total"}
QEQ = {"kind": "qeq"}
FUNCTIONAL = {"kind": "functional"}
LATENT = {"kind": "latent"}
NONE = {"kind": "none"}

CHAIN = {
    "none 1 layer": {"solver": NONE},
    "local 1 layer": {"solver": LOCAL},
    "local 2 layers": {"solver": LOCAL, "backbone": {"layers": 2}},
    "qeq 1 layer": {"solver": QEQ},
    "qeq 2 layers": {"solver": QEQ, "backbone": {"layers": 2}},
    "functional 1 layer": {"solver": FUNCTIONAL, "density": {"l_max": 1}},
}
DIMERS = {
    "none": {"solver": NONE},
    "local": {"solver": LOCAL},
    "latent": {"solver": LATENT},
    "qeq": {"solver": QEQ, "density": {"l_max": 0}},
}
SCF = {"kind": "scf", "tolerance": 1.0e-5}
NON_SCF = {"kind": "non_scf"}
FIELDS = {
    "local": {"solver": LOCAL},
    "qeq": {"solver": QEQ},
    "functional": {"solver": FUNCTIONAL},
    "scf": {"solver": SCF},
    "non_scf": {"solver": NON_SCF},
}
# Charges that flow freely around a periodic cell have no polarisation to be trained on.
LIQUID = {
    "local": {"solver": LOCAL},
    "qeq, soft fragments": {
        "solver": {**QEQ, "transfers": "soft_fragments"},
        "density": {"l_max": 0},
    },
    "non_scf": {"solver": NON_SCF},
}
WARM = {"gradient": "direct"}
BLIND = {"multipoles": 0}
CLUSTERS: dict[str, dict] = {
    "local": {"solver": LOCAL},
    "local, energies and forces alone": {"solver": LOCAL, "loss": BLIND},
    "scf": {"solver": SCF, "first stage": WARM},
    "scf, energies and forces alone": {"solver": SCF, "first stage": WARM, "loss": BLIND},
    "scf, implicit throughout": {"solver": SCF},
}
PEPTIDES = {
    "none": {"solver": NONE},
    "latent": {"solver": LATENT},
    "latent with dipoles": {"solver": LATENT, "density": {"l_max": 1}},
}


def variants() -> Iterator[tuple[str, str, dict[str, dict], dict[str, str]]]:
    """Yields the case, the name of the row, its changes and the changes of the paths."""
    for name, model in CHAIN.items():
        yield "carbon_chain", name, model, {}
    for name, model in PEPTIDES.items():
        yield "spice_latent", name, model, {}
    for name, model in CLUSTERS.items():
        yield "ion_water", name, model, {}
    for name, model in FIELDS.items():
        yield "nma_field", name, model, {}
    for name, model in LIQUID.items():
        yield "water_field", name, model, {}
    for pair in ("CC", "CP", "PP", "CA", "PA", "AA"):
        for name, model in DIMERS.items():
            yield "lode_dimers", f"{pair} {name}", model, {"CC": pair}


def configured(case: str, model: dict[str, dict], renamed: dict[str, str], data: Path) -> dict:
    """Returns the training file of a row, its data paths absolute."""
    plain = yaml.safe_load((CASES / f"{case}.yaml").read_text())
    # The kind of solver is a whole block: the common arm's own must not be merged into it.
    plain["include"] = [
        f"solver/{model['solver']['kind']}" if part.startswith("solver/") else part
        for part in plain["include"]
    ]
    stages = plain["train"].get("stages", [plain["train"]])
    stages[0].update(model.get("first stage", {}))
    for stage in stages:
        stage["loss"].update(model.get("loss", {}))
    blocks = plain.setdefault("model", {})
    for block in set(model) - {"first stage", "loss"}:
        blocks[block] = {**blocks.get(block, {}), **model[block]}
    for name in ("train", "valid", "test"):
        if name in plain.get("data", {}):
            path = plain["data"][name]["path"]
            for old, new in renamed.items():
                path = path.replace(f"{old}_", f"{new}_")
            plain["data"][name]["path"] = str(data.resolve() / path)
    if model["solver"]["kind"] in ("none", "latent"):
        stages[0]["loss"].pop("charges", None)
    return plain


def rows(options: Namespace) -> list[dict]:
    """Returns a row per case and variant.

    Raises:
        SystemExit: if no data folder is given.
    """
    if options.data is None:
        sys.exit("solvers: give the folder of the data sets with --data DIR")
    found = []
    for case, name, model, renamed in variants():
        label = f"{case}: {name}"
        if options.only and options.only not in label:
            continue
        with tempfile.TemporaryDirectory() as folder:
            config = configured(case, model, renamed, options.data)
            config["run"]["dir"] = folder
            file = Path(folder) / "run.yaml"
            file.write_text(yaml.safe_dump(config))
            row = {"row": label, **trained(file, Path(folder) / config["run"]["name"])}
        print(json.dumps(row), flush=True)  # a cut-off run has at least shown what it found
        found.append(row)
    return found
