"""A process that tries one case after the other: a line of JSON in, a line of JSON out."""

import contextlib
import io
import json
import os
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

MEMORY = 4 * 2**30
"""Bytes of addresses."""


def main() -> None:
    """Tries the cases that come in until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # what cases print must not get in between
    os.dup2(2, 1)

    from electrojax.runs import check
    from tests.fuzz.cases import Originals, make_case

    check.memory = lambda job: "not compiled"  # type: ignore[assignment]
    place = Path(sys.argv[1])
    place.mkdir(parents=True)
    good = Originals.made(place)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        seed, index = json.loads(line)
        folder = place / f"{seed}-{index}"
        case = make_case(seed, index, good)
        folder.mkdir()
        for name, content in case.files.items():
            (folder / name).write_bytes(content)
        fault = tried(folder, case.arguments, {*case.files, case.target})
        if not fault:
            shutil.rmtree(folder)
        answer = {"fault": fault, "arguments": case.arguments, "folder": str(folder)}
        print(json.dumps(answer), file=answers)


def tried(folder: Path, arguments: tuple[str, ...], known: set[str]) -> str:
    """Returns what is wrong with how a command ended; empty where it is as it should be."""
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = ended(arguments)
    except BaseException:
        return f"a traceback:\n{traceback.format_exc()[-3000:]}"
    message = said.getvalue()
    if "Traceback" in message:
        return f"a traceback on the terminal:\n{message[-3000:]}"
    if code not in (0, 2):
        return f"exit code {code}: {message[-2000:]}"
    if code == 2 and not (message.startswith("error: ") and len(message.splitlines()) <= 41):
        return f"exit code 2 without a message of one line for each problem: {message[-2000:]}"
    left = {path.name for path in folder.iterdir()}
    if code == 2 and left - (known - {arguments[-1]} | set(arguments[:-1])) - {arguments[-1]}:
        return f"files were left behind: {sorted(left - known)}"
    if further := left - known:
        return f"further files: {sorted(further)}"
    return ""


def ended(arguments: tuple[str, ...]) -> int:
    """Returns the exit code of a command line, or of a reader as the command line would end."""
    from electrojax.cli import main as command_line
    from electrojax.config.md import load_md
    from electrojax.errors import ElectrojaxError
    from electrojax.models.bundle import load
    from electrojax.sweep.points import load_sweep

    readers: dict[str, Callable[[str], object]] = {
        "load": load, "load_md": load_md, "load_sweep": load_sweep,
    }  # fmt: skip
    try:
        if (read := readers.get(arguments[0])) is not None:
            read(arguments[1])
            return 0
        sys.argv = ["electrojax", *arguments]
        command_line()
    except ElectrojaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


if __name__ == "__main__":
    main()
