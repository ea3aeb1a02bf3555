"""Runs one benchmark and stores its rows, each with protocol and environment.

    python benchmarks/run.py --list
    python benchmarks/run.py speed
    python benchmarks/run.py quickstart
    python benchmarks/run.py accuracy --data DIR     # DIR holds the public ab initio sets
    python benchmarks/run.py image_charge            # makes its labels with tblite
    python benchmarks/run.py mace_speed --peer-python mace-torch=PATH   # PATH of its interpreter

Every suite is a module of benchmarks/suites with a function ``rows(options) -> list of dicts``.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def processor() -> str:
    """Returns the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment() -> dict:
    """Returns what a reader needs to judge a row: hardware, versions, commit and time."""
    import jax

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "absent"

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    packages = ("jax", "jaxlib", "flax", "e3nn-jax", "jax-md", "numpy", "ase")
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": [str(d) for d in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {p: installed(p) for p in packages},
        "commit": commit,
        "utc": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
    }


def store(suite: str, rows: list[dict], folder: Path, note: str = "") -> Path:
    """Writes the rows of one run of a suite and returns the file."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{suite}-{stamp}.json"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"environment": environment(), "rows": rows}
    content |= {"note": note} if note else {}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def show(rows: list[dict]) -> None:
    """Prints rows as aligned columns."""
    for row in rows:
        print(
            "  ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()
            )
        )


def main() -> None:
    """Parses the command line and runs one suite."""
    suites = sorted(p.stem for p in (HERE / "suites").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suite", nargs="?", choices=suites)
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument("--data", type=Path, help="folder of the public ab initio sets")
    parser.add_argument("--only", help="run the cases whose name contains this text")
    parser.add_argument(
        "--peer-python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="interpreter of an engine to compare with (suite mace_speed)",
    )
    parser.add_argument("--note", default="", help="what a reader of the rows is to know")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if options.list or not options.suite:
        print("\n".join(suites))
        return
    rows = importlib.import_module(f"benchmarks.suites.{options.suite}").rows(options)
    show(rows)
    print(f"stored in {store(options.suite, rows, options.results, options.note)}")


if __name__ == "__main__":
    main()
