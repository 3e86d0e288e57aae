"""The command: the only place that prints, and that turns errors into exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from edgebuild.cli import output
from edgebuild.decode import closest
from edgebuild.errors import EdgebuildError, ExitCode, StepError, UsageError

# A new verb is a module here with a click command `command`, and a line in this table.
VERBS = {
    "bench": "edgebuild.cli.bench",
    "build": "edgebuild.cli.build",
    "build-all": "edgebuild.cli.build_all",
    "calibrate": "edgebuild.cli.calibrate",
    "check": "edgebuild.cli.check",
    "diff": "edgebuild.cli.diff",
    "doctor": "edgebuild.cli.doctor",
    "history": "edgebuild.cli.history",
    "inspect": "edgebuild.cli.inspect",
    "targets": "edgebuild.cli.targets",
}
DEFAULT = "build"


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing is raised but SystemExit of the interpreter itself."""
    signal.signal(signal.SIGTERM, _interrupt)
    output.begin(arguments)
    try:
        verb, rest = _dispatch(list(arguments))
        command: click.Command = import_module(VERBS[verb]).command
        name = "edgebuild" if verb == DEFAULT else f"edgebuild {verb}"
        code = command.main(rest, prog_name=name, standalone_mode=False)
        return int(code or ExitCode.OK)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        output.ended(UsageError(error.format_message(), remedy=_remedy(error, arguments)))
        return ExitCode.USAGE
    except EdgebuildError as error:
        output.ended(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.interrupted()
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: there is nobody to tell
        return ExitCode.OK
    except OSError as error:
        output.ended(_from_system(error))
        return ExitCode.STEP_FAILED
    except Exception:
        output.bug(arguments)
        return ExitCode.BUG


def _dispatch(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb, and its arguments; `build` may be left out."""
    if not arguments or arguments[0].startswith("-"):
        return DEFAULT, arguments
    first = arguments[0]
    if first in VERBS:
        return first, arguments[1:]
    suggestion = closest(first, VERBS) if first.isalpha() and not Path(first).exists() else ""
    if suggestion:
        raise UsageError(f"there is no command and no model {first}{suggestion}")
    return DEFAULT, arguments


def _remedy(error: click.ClickException, arguments: Sequence[str]) -> str:
    """What to do about a command line that click refuses."""
    if isinstance(error, click.NoSuchOption) and error.option_name in ("-b", "--budget"):
        return f"edgebuild {arguments[0]} judges no budgets: edgebuild bench FILE, check DIST or a build do."
    return "edgebuild --help lists the options."


def _from_system(error: OSError) -> EdgebuildError:
    place = f": {error.filename}" if error.filename else ""
    return StepError(
        f"a file could not be read or written{place}", error.strerror or str(error), "Check space and rights there."
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
