"""Functions that a request names as module:callable, looked for without running any of their code."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from edgebuild.decode import closest
from edgebuild.errors import UsageError

# By these a module may get names that do not stand in it.
_MAKES_NAMES = re.compile(r"import \*|__getattr__|globals\(|exec\(|setattr\(")
_DEFINED = re.compile(r"^(?:async +)?(?:def|class) +(\w+)|^(\w+) *=", re.MULTILINE)
_WHERE = "Modules are looked up in the working folder and in the environment."


def require(path: str, folders: Sequence[str]) -> None:
    """Refuse a module that is nowhere, and a name that does not stand in a module of the user's.

    Args:
        path: module:callable.
        folders: where modules of the user's own are looked up.

    Raises:
        UsageError: it would not be found once it is called.
    """
    module, _, name = path.partition(":")
    top, *inner = module.split(".")
    for folder in map(Path, folders):
        file = folder.joinpath(top, *inner)
        source = next((item for item in (file.with_suffix(".py"), file / "__init__.py") if item.is_file()), None)
        if source is not None:
            _require_name(path, name, source)
            return
        if (folder / top).is_dir():
            return
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        known = [item.stem for folder in folders for item in Path(folder).glob("*.py")]
        raise UsageError(f"{path} cannot be loaded", f"There is no module {top}{closest(top, known)}.", _WHERE)


def _require_name(path: str, name: str, file: Path) -> None:
    text = file.read_text(encoding="utf-8", errors="replace")
    if re.search(rf"\b{name}\b", text) or _MAKES_NAMES.search(text):
        return
    defined = [function or value for function, value in _DEFINED.findall(text)]
    raise UsageError(
        f"{path} cannot be loaded",
        f"{file} defines no {name}{closest(name, defined)}.",
        f"It defines {', '.join(defined[:10])}." if defined else _WHERE,
    )
