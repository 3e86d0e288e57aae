"""Facility: something of this machine that edgebuild can use."""

from __future__ import annotations

import msgspec


class Facility(msgspec.Struct, frozen=True, kw_only=True):
    """A tool, a package or a right, there or not.

    Attributes:
        name: what it is called.
        is_there: whether it can be used.
        detail: its version or place; where it is not there, what is in the way.
        use: what edgebuild does with it.
        remedy: what makes it usable; empty where it is there, or where nothing helps.
    """

    name: str
    is_there: bool
    detail: str
    use: str
    remedy: str = ""
