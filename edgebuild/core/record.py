"""Record: what the history keeps of one artifact that was measured."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.comparison import Interval
from edgebuild.core.measurement import Mode


class Commit(NamedTuple):
    """The state of a working folder: the commit, and whether tracked files differ from it (None: not known).

    Both are empty outside of a repository, and where git is absent. `project` is the folder that tells artifacts of one
    name apart; empty where that does not matter.
    """

    sha: str = ""
    dirty: bool | None = None
    project: str = ""


class RecordedFigure(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement without its samples; `interval` is the 95 % interval of the value where it has one."""

    subject: Subject
    value: float
    unit: Unit
    interval: Interval | None = None
    mode: Mode
    where: str
    machine: str = ""
    kernels: str = ""
    threads: int = 1


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that was measured once.

    Attributes:
        time: when it was recorded, UTC, as "2026-10-17T12:34:56+00:00".
        name: of the artifact.
        target: that it was built for; empty where that is not known.
        project: the folder that it was built or measured from; empty where that was not recorded.
        sha256: of the file.
        commit: of the repository that the network or the working folder lies in; empty where there is none.
        dirty: whether tracked files differed from the commit; None where that is not known.
        edgebuild: the version that built it; empty where it was measured by itself.
        metric: what accuracy is; empty where nothing was scored.
        evaluation_sha256: of the samples that it was scored on.
    """

    time: str
    name: str
    target: str
    project: str = ""
    sha256: str
    commit: str = ""
    dirty: bool | None = None
    edgebuild: str = ""
    metric: str = ""
    evaluation_sha256: str = ""
    figures: tuple[RecordedFigure, ...]
