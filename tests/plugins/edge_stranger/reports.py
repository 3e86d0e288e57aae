"""Reports."""

from __future__ import annotations

from edgebuild.core.manifest import Manifest


def lines(manifest: Manifest) -> dict[str, str]:
    """A line for each check."""
    checks = (f"{check.budget.subject}: {check.status}" for check in manifest.verdict.checks)
    return {"lines.txt": "\n".join((f"{manifest.target}: {manifest.verdict.status}", *checks)) + "\n"}
