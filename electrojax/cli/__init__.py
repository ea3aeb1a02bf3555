"""The command line: one short file per verb, heavy imports inside the verb."""

import os
import signal
import sys

import typer

from electrojax.errors import ConvergenceError, ElectrojaxError
from electrojax.text import cut, visible

EXIT_WRONG_INPUT, EXIT_NUMERICAL, EXIT_INTERRUPTED = 2, 3, 130

LONGEST_LINE, MOST_LINES = 2000, 40
"""Of an error."""

FAST_COMPILATION = "--xla_gpu_autotune_level=0"
"""On a GPU XLA else times variants of every matrix product: minutes of compilation for MACE."""


def app() -> typer.Typer:
    """Returns the command-line application with every verb."""
    from electrojax.cli import (
        analyse,
        data,
        evaluate,
        import_model,
        info,
        init,
        md,
        report,
        sweep,
        train,
    )

    application = typer.Typer(
        name="electrojax",
        help="Electrostatic machine-learning interatomic potentials in JAX.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    verbs = (init.init, init.check, init.schema, train.train, evaluate.evaluate, md.md, info.info)
    for verb in verbs:
        application.command()(verb)
    application.command()(analyse.analyse)
    application.command()(report.report)
    application.command("import")(import_model.import_model)
    application.add_typer(data.app, name="data")
    application.add_typer(sweep.app, name="sweep")
    return application


def main() -> None:
    """Runs the command line; errors of electrojax become one line and an exit code.

    Exit codes: 0 done, 2 configuration or data wrong and nothing started, 3 numerical failure,
    130 interrupted and resumable.
    """
    os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)
    # Runs take both signals between their steps; outside of them SIGTERM acts as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()()
    except ElectrojaxError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        code = EXIT_NUMERICAL if isinstance(error, ConvergenceError) else EXIT_WRONG_INPUT
        raise SystemExit(code) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        message = "the memory is not enough for this; use smaller batches, models or files"
        print(f"error: {message} ({cut(shown(str(error)))})", file=sys.stderr)
        raise SystemExit(EXIT_WRONG_INPUT) from None
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume auto continues", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def shown(message: str) -> str:
    """Returns a message for the terminal: nothing hidden, and no more than can be read.

    Names out of files stand in messages, and an escape in them would move the cursor.
    """
    lines = [cut(line, LONGEST_LINE) for line in visible(message, "\n").splitlines()]
    left = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"and {left} more"] if left > 0 else [])])
