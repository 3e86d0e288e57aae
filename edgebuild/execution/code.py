"""Which code decides the result of an action: the modules that its kind's module imports, and theirs, found by reading.

What is imported within functions counts, since children import late what is heavy. Names that are written in a text or
a comment as an import would be are taken for one: a file too many in a digest makes a result be made again, a file too
few would keep a wrong one.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edgebuild import hashing

_ROOT = Path(__file__).parent.parent.parent
_PACKAGE = "edgebuild"
_IMPORT = re.compile(r"^[ \t]*from[ \t]+(edgebuild[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)", re.MULTILINE)
_PLAIN = re.compile(r"^[ \t]*import[ \t]+(edgebuild[\w.]*)", re.MULTILINE)
# Modules that are named by a text and imported by it: a place's kind names its module.
_NAMED = re.compile(r"[\"'](edgebuild\.[\w.]+)[\"']")
# Programs that are copied elsewhere to be run there are named by their files.
_SIBLING = re.compile(r"[\"'](\w+)\.py[\"']")
_NAME = re.compile(r"(\w+)(?:[ \t]+as[ \t]+\w+)?")


@functools.cache
def digest(*modules: str) -> str:
    """One hash over the sources that these modules of the package import, themselves among them."""
    return hashing.of_data(sorted(map(_line, closure(*modules))))


@functools.cache
def closure(*modules: str) -> frozenset[str]:
    """The modules of the package that these import, directly or through others, themselves and packages included."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module in found or module not in _sources():
            continue  # what is imported from a module may be anything in it
        found.add(module)
        # What the package itself offers to Python users is imported once they ask for it.
        pending += [module.rpartition(".")[0], *(_imports(module) if module != _PACKAGE else ())]
    return frozenset(found)


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    source = _sources()[module]
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(dict.fromkeys(_imported(_text(source), package)))


def _imported(text: str, package: str) -> Iterator[str]:
    for match in _IMPORT.finditer(text):
        yield match[1]
        yield from (f"{match[1]}.{name[1]}" for name in _NAME.finditer(match[2]))
    yield from (match[1] for match in _PLAIN.finditer(text))
    yield from (match[1] for match in _NAMED.finditer(text))
    for match in _SIBLING.finditer(text):
        own = f"{package}.{match[1]}"
        yield from [own] if own in _sources() else _called(match[1])


def _called(name: str) -> Iterator[str]:
    """The modules of this name, wherever they are."""
    return (module for module in _sources() if module.rpartition(".")[2] == name)


@functools.cache
def _sources() -> dict[str, Path]:
    """The files of all modules of the package; a package is its __init__."""
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(_ROOT / _PACKAGE):
        package = ".".join(Path(folder).relative_to(_ROOT).parts)
        for name in names:
            if name.endswith(".py"):
                found[package if name == "__init__.py" else f"{package}.{name[:-3]}"] = Path(folder, name)
    return found


@functools.cache
def _line(module: str) -> str:
    """A module with the digest of its source, and of what lies beside it that is no module: programs, templates."""
    source = _sources()[module]
    return f"{module} {hashing.of_bytes(_text(source).encode())} {_beside(source.parent)}"


@functools.cache
def _beside(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix not in (".py", ".pyc", ".typed") and path.is_file())
    return hashing.of_data([[path.name, hashing.of_file(path)] for path in files])


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
