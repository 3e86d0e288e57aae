"""What was tried to bring an artifact back within its accuracy budget."""

from __future__ import annotations

import msgspec


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One build on the repair ladder.

    Attributes:
        name: what it does more than the one before it, for people.
        accuracy: the artifact's score.
        size_bytes: of the artifact.
        latency_s: the median at the first place that times; None where none does.
        kept: whether it keeps the accuracy budget.
    """

    name: str
    accuracy: float
    size_bytes: int
    latency_s: float | None
    kept: bool
