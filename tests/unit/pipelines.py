"""Whole builds on a fake executor: plans, what is built of them, and what was asked."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from making import DATA, MODEL, settings
from pipeline_answers import Bench
from sessions import answering

from edgebuild import api, plan as planning, repository, targets
from edgebuild.core.metric import Metric
from edgebuild.core.plan import Plan, Source
from edgebuild.core.progress import Listener, Silence
from edgebuild.core.record import Commit
from edgebuild.core.target import Target
from edgebuild.execution.fake import Fake
from edgebuild.execution.session import Session
from edgebuild.execution.store import Store
from edgebuild.layering import Layer
from edgebuild.pipeline import build as building
from edgebuild.pipeline.build import Outcome
from edgebuild.runtimes import tools
from edgebuild.runtimes.tflm import wheel
from edgebuild.search.accuracy_recovery import AccuracyRecovery, Means
from edgebuild.search.strategy import Strategy

PLAIN = {"build": {"compress": False, "refine": False}}
REFINED = {"build": {"compress": False}}


def planned(
    target: str = "arm64",
    of: Source = MODEL,
    fed: Source | None = DATA,
    budgets: Any = None,
    over: Any = None,
    **tables: Any,
) -> Plan:
    """The plan of a profile with these budgets and whatever lies over it, of a network that is fed with data."""
    layers = {**({"budgets": budgets} if budgets else {}), **(over or {})}
    resolved, asked = _read(target, msgspec.json.encode(layers), msgspec.json.encode(tables))
    return planning.plan(resolved, asked, of, fed)


@functools.cache
def _read(target: str, over: bytes, tables: bytes) -> tuple[Target, Any]:
    """A profile and settings, once for all tests that ask for the same."""
    asked = settings(**msgspec.json.decode(tables))
    layers = [Layer("test", msgspec.json.decode(over))]
    return targets.load(target, Metric.asked(asked.metric), layers).target, asked


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
    """What this machine has of the tools of vendors, whatever it has; no process is started from here on."""
    patch.setattr(subprocess.Popen, "__init__", _refuse)
    patch.setattr(repository, "commit", lambda *_: Commit())
    patch.setattr(repository, "project", str)
    patch.setattr(repository, "top", _no_repository)
    patch.setattr(wheel, "version", lambda: tflm)
    patch.setattr(tools, "vela", lambda: vela)
    patch.setattr(tools, "edgetpu", lambda: edgetpu)


def _no_repository(place: Path) -> Path:
    raise repository.UnknownRefError(f"{place} lies in no git repository")


def _refuse(*command: object, **_: object) -> None:
    raise AssertionError(f"a process was started: {command[1:]}")


def through_api(patch: pytest.MonkeyPatch, folder: Path, bench: Bench) -> list[Fake]:
    """Let all that the library does ask this bench, with a store in this folder; the executors, one for each call."""
    fakes: list[Fake] = []

    @contextmanager
    def opened(store: Store, listener: Listener, *_: object) -> Iterator[Session]:
        fakes.append(Fake(bench.answers()))
        with store.workspace() as scratch:
            yield Session(store, listener, fakes[-1], scratch)

    patch.setattr(api, "opened", opened)
    patch.setenv(api.STORE_VARIABLE, str(folder / "store"))
    patch.chdir(folder)
    return fakes


def given(folder: Path, name: str = "kws", content: str = "a network") -> tuple[str, str]:
    """The files of a network and of data as they are named in requests; nobody opens the network."""
    model, data = folder / f"{name}.keras", folder / "data.npz"
    model.write_text(content)
    np.savez(data, x_train=np.zeros((9, 4), np.float32), y_train=np.arange(9) % 3)
    return str(model), str(data)
