"""Prints the ratio of every number that two result files share, row by row.

    python benchmarks/compare.py results/OLD.json results/NEW.json

Times of different machines do not compare; the environments of both files are printed first.
"""

import json
import sys
from pathlib import Path


def key(row: dict) -> tuple:
    """Returns what identifies a row: everything in it that is not a measured float."""
    return tuple(sorted((k, str(v)) for k, v in row.items() if not isinstance(v, float)))


def ratios(old: list[dict], new: list[dict]) -> list[tuple[tuple, str, float]]:
    """Returns new/old for every float of every row that both files hold."""
    before = {key(row): row for row in old}
    return [
        (key(row), name, row[name] / before[key(row)][name])
        for row in new
        if key(row) in before
        for name, value in row.items()
        if isinstance(value, float) and before[key(row)].get(name)
    ]


def main(first: str, second: str) -> None:
    """Prints the comparison of two files."""
    old, new = (json.loads(Path(p).read_text()) for p in (first, second))
    for label, content in (("old", old), ("new", new)):
        shown = {k: content["environment"][k] for k in ("processor", "cores", "commit", "utc")}
        print(label, shown)
    for row, name, ratio in ratios(old["rows"], new["rows"]):
        print(f"{ratio:8.3f}  {name:<24} {dict(row)}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
