"""Steps of a build: what their jobs are told, and when what they made is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from making import asked, budget, plan

from edgebuild.core.budget import Unit
from edgebuild.core.plan import Source
from edgebuild.core.progress import Silence
from edgebuild.core.settings import LimitSettings
from edgebuild.engine import steps
from edgebuild.engine.material import Changeable, Data
from edgebuild.engine.session import Session, Step
from edgebuild.engine.store import Store
from edgebuild.passes.jobs import CompressJob, Splits

LIMITS = LimitSettings(step_time=300, step_memory=10**9, run_time=300, run_memory=10**9)
NETWORK = Changeable(Path("network.npz"), "identity")


def _data(folder: Path) -> Data:
    given: dict[str, Any] = {"train_samples": 9, "calibration_samples": 0, "evaluation_samples": 0, "labels": ()}
    given |= {"given_samples": 9, "learning_samples": 9, "learning_sha256": "x", "notes": ()}
    given |= {"calibration_sha256": "", "evaluation_sha256": "", "has_answers": True, "learning_has_answers": True}
    return Data(Splits(**given), folder)


def _change(tmp_path: Path, budgets: tuple[Any, ...] = (), learns_from: tuple[Source, ...] = (), **own: Any) -> Step:
    (settings,) = asked(channels={"keep": "50 %", **own})
    made = plan(passes=(settings, *plan().passes), budgets=budgets, learns_from=learns_from)
    return steps.change(made, settings, NETWORK, NETWORK, _data(tmp_path), None)


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
    budgets: tuple[Any, ...], own: dict[str, Any], max_drop: float, tmp_path: Path
) -> None:
    step = _change(tmp_path, budgets, **own)
    job = step.job(tmp_path)
    assert isinstance(job, CompressJob)
    assert job.lesson is not None
    assert job.lesson.max_drop == max_drop
    other = _change(tmp_path, max_drop="50 %")
    assert step.depends_on != other.depends_on


def test_a_training_by_a_function_of_unknown_source_is_found_again_by_its_own_build_alone(tmp_path: Path) -> None:
    unknown = Source(kind="callable", path="package:augment", sha256="")
    assert _change(tmp_path).is_known
    step = _change(tmp_path, learns_from=(unknown,))
    assert not step.is_known
    done = []

    def do(_: Step, out: Path) -> bytes:
        done.append(out)
        return msgspec.json.encode({"number": len(done)})

    for sessions in (1, 2):
        with Session(Store(tmp_path / "store"), Silence(), LIMITS, ()) as session:
            first, second = (session._look_up_or_do(step, do) for _ in range(2))
        assert first == second
        assert len(done) == sessions
