"""Whole builds on a fake executor: plans, what is built of them, and what was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import DATA, MODEL, settings
from pipeline_answers import Bench
from sessions import answering

from edgebuild import plan as planning
from edgebuild import targets
from edgebuild.core.metric import Metric
from edgebuild.core.plan import Plan, Source
from edgebuild.core.progress import Listener, Silence
from edgebuild.engine import build as building
from edgebuild.engine.build import Outcome
from edgebuild.execution.fake import Fake
from edgebuild.layering import Layer
from edgebuild.runtimes import compilers
from edgebuild.runtimes.tflm import wheel
from edgebuild.search.accuracy_recovery import AccuracyRecovery, Means
from edgebuild.search.strategy import Strategy

PLAIN = {"build": {"compress": False, "refine": False}}
REFINED = {"build": {"compress": False}}


def planned(
    target: str = "arm64",
    model: Source = MODEL,
    data: Source | None = DATA,
    budgets: Any = None,
    over: Any = None,
    **tables: Any,
) -> Plan:
    """The plan of a profile, with these budgets and whatever lies over it."""
    asked = settings(**tables)
    layers = [Layer("test", {**({"budgets": budgets} if budgets else {}), **(over or {})})]
    resolved = targets.load(target, Metric.asked(asked.metric), layers).target
    return planning.plan(resolved, asked, model, data)


def built(
    folder: Path,
    bench: Bench,
    *plans: Plan,
    vet: bool = True,
    strategy: Callable[[Means], Strategy] | None = AccuracyRecovery,
    listener: Listener | None = None,
    again: bool = False,
    reports: tuple[str, ...] = (),
) -> tuple[list[Outcome], Fake]:
    """Build into FOLDER/dist, with a store in the same folder."""
    session, fake = answering(folder, bench.answers(), listener)
    outcomes = building.build(
        plans, folder / "dist", session, listener or Silence(), again=again, vet=vet, strategy=strategy, reports=reports
    )
    return outcomes, fake


def kinds(fake: Fake) -> list[str]:
    """What was asked, in order."""
    return [asked.kind for asked in fake.asked]


def only(outcomes: list[Outcome]) -> Any:
    """The manifest of the one build, which did not fail."""
    (outcome,) = outcomes
    assert outcome.error is None, outcome.error
    assert outcome.manifest is not None
    return outcome.manifest


def statuses(manifest: Any) -> dict[str, str]:
    """The verdicts by what is limited."""
    return {str(check.budget.subject): str(check.status) for check in manifest.verdict.checks}


def said(manifest: Any, words: str) -> str:
    """The one note with these words."""
    (note,) = [note for note in manifest.notes if words in note]
    return str(note)


def installed(
    patch: pytest.MonkeyPatch, tflm: str | None = "1.2.3", vela: str | None = None, edgetpu: str | None = None
) -> None:
    """What this machine has of the tools of vendors, whatever it has."""
    patch.setattr(wheel, "version", lambda: tflm)
    patch.setattr(compilers, "vela", lambda: vela)
    patch.setattr(compilers, "edgetpu", lambda: edgetpu)
