"""What a build would take, from what earlier ones took on this machine: seconds by stage, kept beside the store.

Networks of another size are assumed to take time in proportion to it, within bounds: much of a build does not depend on
the network at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import documents
from edgebuild.core.outlook import Outlook
from edgebuild.core.plan import Plan
from edgebuild.documents import DocumentError
from edgebuild.report import wording

FILE = "times.jsonl"
_KEPT = 500  # records
_STAGES = ("prepare", "compress", "quantize", "evaluate", "package")
_STEPS: Mapping[str, Sequence[str]] = {
    "prepare": ("example", "call", "freeze", "split", "baseline", "lint", "carry", "synthesize", "layers"),
    "compress": ("student", "channels", "prune", "cluster", "qat", "layer-times"),
    "quantize": ("equalize", "calibrate", "quantize", "runs", "tflm-runs"),
    "package": ("lean", "metadata", "firmware", "tflm-sample", "edgetpu", "ethos-u"),
}
_OF_STEP = {step: stage for stage, steps in _STEPS.items() for step in steps}
# Of a network of 1 MB on two cores, where nothing is known of this machine; training has a limit of its own.
_GUESS = {"prepare": 20.0, "quantize": 25.0, "evaluate": 30.0, "package": 3.0}
_GUESS_BYTES = 1_000_000
_NARROWEST, _WIDEST = 0.5, 8.0  # what the size of a network makes of the time


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What a build took for one target.

    Attributes:
        model: the digest of the network's file; empty for a function.
        size_bytes: of that file.
        target: the target.
        passes: what was done before quantization, by kind.
        stages: seconds by stage.
    """

    model: str
    size_bytes: int
    target: str
    passes: tuple[str, ...]
    stages: dict[str, float]


class _Like(NamedTuple):
    """The earlier build that is most like a plan, and how many there are."""

    took: Took
    is_same_network: bool
    builds: int


def stages(spent: Mapping[str, float], targets: int) -> dict[str, float]:
    """Seconds by stage for one target, from those of all steps of a build; what comes first is done once for all."""
    found = dict.fromkeys(_STAGES, 0.0)
    for step, time_s in spent.items():
        stage = _OF_STEP.get(step, "evaluate")
        found[stage] += time_s if stage == "prepare" else time_s / targets
    return {stage: round(time_s, 2) for stage, time_s in found.items() if time_s}


def keep(store: Path, plans: Sequence[Plan], spent: Mapping[str, float]) -> None:
    """Keep what a build took; a folder that cannot be written is no reason for it to fail."""
    by_stage = stages(spent, len(plans))
    made = [
        Took(model=plan.model.sha256, size_bytes=_size(plan), target=plan.target, passes=_passes(plan), stages=by_stage)
        for plan in plans
    ]
    with contextlib.suppress(OSError):
        store.mkdir(parents=True, exist_ok=True)
        lines = [msgspec.json.encode(item) for item in (*read(store), *made)][-_KEPT:]
        # Whoever reads at the same time sees the earlier file or this.
        beside = store / f"{FILE}.{os.getpid()}"
        beside.write_bytes(b"\n".join(lines) + b"\n")
        beside.replace(store / FILE)


def read(store: Path) -> list[Took]:
    """What earlier builds took, the oldest first; lines that cannot be read are left out."""
    try:
        lines = documents.read(store / FILE).splitlines()
    except (OSError, DocumentError):
        return []
    found = []
    for line in lines:
        with contextlib.suppress(DocumentError):
            found.append(documents.json(line, Took))
    return found


def of_plan(plan: Plan, earlier: Sequence[Took]) -> Outlook:
    """What a plan would take, by the build before that is most like it."""
    training = plan.train.time if plan.compressions else 0.0
    like = _most_like(plan, earlier)
    if like is None:
        factor = _factor(_size(plan), _GUESS_BYTES)
        guess = {stage: round(time_s * factor, 1) for stage, time_s in _GUESS.items()}
        nothing = "no build with these passes was timed here before" if earlier else "nothing was built here before"
        return Outlook(stages=guess, basis=f"a rough guess: {nothing}", training=training)
    factor = 1.0 if like.is_same_network else _factor(_size(plan), like.took.size_bytes)
    expected = {stage: round(time_s * factor, 1) for stage, time_s in like.took.stages.items()}
    if plan.compressions and "compress" in expected:
        training = 0.0  # it is in that figure
    which = "of this network" if like.is_same_network else "of another network, by its size"
    builds = f"{like.builds} earlier build{'s' if like.builds > 1 else ''}"
    return Outlook(stages=expected, basis=f"from {builds} {which}", training=training)


def _most_like(plan: Plan, earlier: Iterable[Took]) -> _Like | None:
    """One that did the same passes, of the same network before others, for the same target before others."""
    alike = [took for took in earlier if took.passes == _passes(plan) and took.stages]
    same = [took for took in alike if took.model and took.model == plan.model.sha256]
    pool = same or alike
    pool = [took for took in pool if took.target == plan.target] or pool
    if not pool:
        return None
    size = _size(plan)
    nearest = min(reversed(pool), key=lambda took: abs(took.size_bytes - size))
    return _Like(nearest, bool(same), len(pool))


def _factor(size: int, other: int) -> float:
    return min(_WIDEST, max(_NARROWEST, size / max(1, other)))


def _passes(plan: Plan) -> tuple[str, ...]:
    return tuple(wording.kind(step) for step in plan.changes)


def _size(plan: Plan) -> int:
    path = Path(plan.model.path)
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size if path.is_file() else _GUESS_BYTES
    except OSError:
        return _GUESS_BYTES
