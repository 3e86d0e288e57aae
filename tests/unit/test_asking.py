"""What a plan asks for: the settings of its actions, and when what they made is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import asked, budget, plan
from sessions import NOWHERE, answering

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.actions.datasets import Splits
from edgebuild.actions.table import KINDS
from edgebuild.core.action import Action
from edgebuild.core.budget import Unit
from edgebuild.core.plan import Source
from edgebuild.execution import keys
from edgebuild.pipeline import asking
from edgebuild.pipeline.artifacts import Data

DATA = Data(
    Splits(
        train_samples=9,
        calibration_samples=0,
        evaluation_samples=0,
        given_samples=9,
        learning_samples=9,
        learning_sha256="x",
        calibration_sha256="",
        evaluation_sha256="",
        has_answers=True,
        learning_has_answers=True,
        labels=(),
        notes=(),
    ),
    "0" * 64,
)


def _change(
    budgets: tuple[Any, ...] = (), learns_from: tuple[Source, ...] = (), **own: Any
) -> tuple[Action[Compressed], CompressJob]:
    (settings,) = asked(channels={"keep": "50 %", **own})
    made = plan(passes=(settings, *plan().passes), budgets=budgets, learns_from=learns_from)
    action = asking.change(made, settings, NOWHERE, NOWHERE, DATA, None)
    assert isinstance(action.settings, CompressJob)
    return action, action.settings


@pytest.mark.parametrize(
    ("budgets", "own", "max_drop"),
    [
        ((), {}, 0.01),
        ((budget("accuracy_drop", 0.03),), {}, 0.03),
        ((budget("accuracy_drop", 0.05), budget("accuracy_drop", 0.03)), {}, 0.03),
        ((budget("accuracy_drop", 0.2, unit=Unit.RELATIVE),), {}, 0.2),
        ((budget("accuracy_drop", 7.0, unit=Unit.NUMBER),), {}, 0.01),
        ((budget("accuracy", 0.9), budget("accuracy_drop", 0.03)), {"max_drop": "2 %"}, 0.02),
    ],
)
def test_a_pass_may_cost_as_much_of_the_score_as_the_release_unless_it_says_how_much(
    budgets: tuple[Any, ...], own: dict[str, Any], max_drop: float
) -> None:
    action, job = _change(budgets, **own)
    assert job.lesson is not None
    assert job.lesson.max_drop == max_drop
    other, _ = _change(max_drop="50 %")
    kind = KINDS[action.kind]
    assert keys.key(action, kind) != keys.key(other, kind)


def test_a_training_by_a_function_of_unknown_source_is_found_again_by_its_own_build_alone(tmp_path: Path) -> None:
    unknown = Source(kind="callable", path="package:augment", sha256="")
    known = Source(kind="callable", path="package:augment", sha256="ab")
    made = Compressed(identity_sha256="x", parameters=1, notes=())
    for source, times in ((unknown, 2), (known, 1)):
        action, _ = _change(learns_from=(source,))
        done = []
        for _ in range(2):
            session, fake = answering(tmp_path / source.sha256, {"channels": lambda *_: made})
            first, second = session.run(action), session.run(action)
            assert first == second
            done += fake.asked
        assert len(done) == times
