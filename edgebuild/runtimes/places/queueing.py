"""What is said of measurements that wait for another on the same machine."""

from __future__ import annotations

from edgebuild.errors import UnavailableError
from edgebuild.units import format_seconds


def waiting(machine: str) -> str:
    """What is said while another call measures."""
    return f"wait for {machine}, which measures for another call of edgebuild"


def busy(machine: str, waited_s: float) -> UnavailableError:
    """Another call measured for too long."""
    return UnavailableError(
        f"{machine} is measuring for another call of edgebuild",
        f"This one has waited for {format_seconds(waited_s)}.",
        "Try again when that is done.",
    )


def unheard(_: str) -> None:
    """Where nobody listens."""
