"""edgebuild: from a trained network to a gated .tflite artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebuild.api import bench, build, check
    from edgebuild.errors import EdgebuildError, StepError, UnavailableError, UsageError
    from edgebuild.many import build_many

_ERRORS = ("EdgebuildError", "StepError", "UnavailableError", "UsageError")
__all__ = ["EdgebuildError", "StepError", "UnavailableError", "UsageError", "bench", "build", "build_many", "check"]


def __getattr__(name: str) -> Any:
    """Import the face at its first use, so that `import edgebuild` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'edgebuild' has no attribute {name!r}")
    if name in _ERRORS:
        from edgebuild import errors

        return getattr(errors, name)
    from edgebuild import api, many

    return getattr(many if name == "build_many" else api, name)
