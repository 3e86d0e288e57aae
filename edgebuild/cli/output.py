"""Printing: results on standard output, everything else on standard error, colours only where they are wanted."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence

import click

from edgebuild.errors import EdgebuildError, ExitCode

JSON = "--json"
# Of the command line that runs: whether it asks for JSON, and whether its result was printed.
_STATE = {"json": False, "printed": False}
_STYLES: dict[str, dict[str, str | bool]] = {
    "pass": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "fail": {"fg": "red", "bold": True},
    "inconclusive": {"fg": "magenta"},
    "title": {"bold": True},
    "dim": {"dim": True},
}
# Styles as `paint` writes them; then control characters but tabs and line ends, and those that turn the direction.
_CONTROLS = re.compile(r"(\x1b\[(?:0|1|2|3[1235])m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def paint(text: str, style: str) -> str:
    """A text in its style; `result` and `say` take the style off again where there is no terminal."""
    return click.style(text, **_STYLES.get(style, {}))  # type: ignore[arg-type]


def shown(text: str) -> str:
    """A text whose control characters are written out, as names in files of others may hold them, but for our styles.

    They could move the cursor over what was printed, colour it, hide it or turn its direction. What is written in
    their place is theirs in JSON.
    """
    return _CONTROLS.sub(lambda match: match[1] or f"\\u{ord(match[0]):04x}", text)


def result(text: str) -> None:
    """Print what was asked for."""
    _STATE["printed"] = True
    click.echo(shown(text), color=_colour())


def begin(arguments: Sequence[str]) -> None:
    """Note whether a command line asks for JSON: it is answered with a document however the command ends."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    _STATE.update(json=JSON in before, printed=False)


def say(text: str) -> None:
    """Print what happens on the way."""
    click.echo(shown(text), err=True, color=_colour())


def error(problem: EdgebuildError, what: str = "") -> None:
    """Print an expected failure: what, why, what to do; `what` in place of its own."""
    say(f"{paint('error', 'fail')}: {_in_a_line(what or problem.what)}")
    for line in problem.why.splitlines():
        say(f"  {line}")
    for line in problem.remedy.splitlines():
        say(f"  {paint(line, 'title')}")


def _in_a_line(text: str) -> str:
    return text.replace("\n", "\\n")


def errors(failed: Sequence[tuple[str, EdgebuildError]], *, titled: bool) -> None:
    """Print failures of several targets, each that does not depend on the target once.

    Args:
        failed: the targets, each with its failure.
        titled: whether the targets stand above each failure.
    """
    same: dict[tuple[str, str, str, int], list[tuple[str, EdgebuildError]]] = {}
    for target, problem in failed:
        what = problem.what.removeprefix(f"{target}: ")
        same.setdefault((what, problem.why, problem.remedy, problem.exit_code), []).append((target, problem))
    for (what, *_), items in same.items():
        names, problem = ", ".join(target for target, _ in items), items[0][1]
        if titled:
            say(f"\n{names}:")
        is_named = titled or what == problem.what
        error(problem, problem.what if len(items) == 1 else what if is_named else f"{names}: {what}")


def ended(problem: EdgebuildError) -> None:
    """Print the failure that ends a command, also as JSON where that was asked for and nothing was printed yet."""
    error(problem)
    _document(as_document(problem))


def interrupted() -> None:
    """Say that the user ended it."""
    text = "nothing was published; earlier artifacts are as they were"
    say(f"\ninterrupted: {text}")
    _document({"exit_code": int(ExitCode.INTERRUPTED), "what": "interrupted", "why": text, "remedy": ""})


def as_document(problem: EdgebuildError) -> dict[str, object]:
    """A failure for JSON."""
    return {
        "exit_code": int(problem.exit_code),
        "what": problem.what,
        "why": problem.why,
        "remedy": problem.remedy,
    }


def _document(error_fields: dict[str, object]) -> None:
    if _STATE["json"] and not _STATE["printed"]:
        result(as_json({"error": error_fields}))


def bug(arguments: Sequence[str]) -> None:
    """Keep a traceback in a log that can be pasted into a report, and say where it is."""
    with tempfile.NamedTemporaryFile("w", prefix="edgebuild-bug-", suffix=".log", delete=False) as log:
        log.write(f"edgebuild {' '.join(arguments)}\n{sys.version}\n\n{traceback.format_exc()}")
    say(f"{paint('error', 'fail')}: this is a bug in edgebuild: {sys.exception()!r:.200}")
    report = f"What it was doing is in {log.name}: please report it with that file."
    say(f"  {report}")
    what = f"this is a bug in edgebuild: {sys.exception()!r:.200}"
    _document({"exit_code": int(ExitCode.BUG), "what": what, "why": "", "remedy": report})


def as_json(items: object) -> str:
    """Nouns as indented JSON."""
    from edgebuild import documents  # errors do without

    return documents.as_json(items).decode()


def _colour() -> bool | None:
    """False where NO_COLOR asks for it (https://no-color.org), else as the stream decides."""
    return False if os.environ.get("NO_COLOR") else None
