"""Outlook: what a build would find and take, as far as that is known before anything is done."""

from __future__ import annotations

import msgspec


class ArrayOutline(msgspec.Struct, frozen=True, kw_only=True):
    """An array of the data: its name, its shape with the samples first, and its type; read from the file's headers."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class DataOutline(msgspec.Struct, frozen=True, kw_only=True):
    """The data without their samples.

    Attributes:
        arrays: of a .npz file; none of a folder, whose images take the network's shape.
        samples: of each split as a build would divide them, by "train", "calibration" and "evaluation".
        classes: how many folders of classes there are; 0 where that is not known.
        note: why not more is known; empty where it is.
    """

    arrays: tuple[ArrayOutline, ...] = ()
    samples: dict[str, int] = {}
    classes: int = 0
    note: str = ""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a build for one target would find and take.

    Attributes:
        data: None where none are named.
        stages: seconds that each stage would take with nothing kept from earlier builds.
        basis: what these come from, for people.
        training: the most that training may take, in seconds; 0 where nothing is trained.
        unscored: why nothing will be scored, so that limits on scores are inconclusive; empty where something is, or
            where only the build will tell.
    """

    data: DataOutline | None = None
    stages: dict[str, float] = {}
    basis: str = ""
    training: float = 0.0
    unscored: str = ""
