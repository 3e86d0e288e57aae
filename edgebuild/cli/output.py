"""Printing: results on standard output, everything else on standard error, colours only where they are wanted."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import click

from edgebuild.errors import EdgebuildError

_STYLES: dict[str, dict[str, str | bool]] = {
    "pass": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "fail": {"fg": "red", "bold": True},
    "inconclusive": {"fg": "magenta"},
    "title": {"bold": True},
    "dim": {"dim": True},
}


def paint(text: str, style: str) -> str:
    """A text in its style; `result` and `say` take the style off again where there is no terminal."""
    return click.style(text, **_STYLES.get(style, {}))  # type: ignore[arg-type]


def result(text: str) -> None:
    """Print what was asked for."""
    click.echo(text, color=_colour())


def say(text: str) -> None:
    """Print what happens on the way."""
    click.echo(text, err=True, color=_colour())


def error(problem: EdgebuildError) -> None:
    """Print an expected failure: what, why, what to do."""
    say(f"{paint('error', 'fail')}: {problem.what}")
    for line in problem.why.splitlines():
        say(f"  {line}")
    if problem.remedy:
        say(f"  {paint(problem.remedy, 'title')}")


def bug(arguments: Sequence[str]) -> None:
    """Keep a traceback in a log that can be pasted into a report, and say where it is."""
    with tempfile.NamedTemporaryFile("w", prefix="edgebuild-bug-", suffix=".log", delete=False) as log:
        log.write(f"edgebuild {' '.join(arguments)}\n{sys.version}\n\n{traceback.format_exc()}")
    say(f"{paint('error', 'fail')}: this is a bug in edgebuild: {sys.exception()!r:.200}")
    say(f"  What it was doing is in {log.name}: please report it with that file.")


def as_json(items: object) -> str:
    """Nouns as indented JSON."""
    import msgspec  # errors do without

    return msgspec.json.format(msgspec.json.encode(items), indent=2).decode()


def _colour() -> bool | None:
    """False where NO_COLOR asks for it (https://no-color.org), else as the stream decides."""
    return False if os.environ.get("NO_COLOR") else None
