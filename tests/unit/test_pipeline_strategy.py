"""Another strategy than the repair ladder: two plans at a time, ranked by size, seen and left through the interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from pipeline_answers import Bench
from pipelines import PLAIN, REFINED, built, installed, kinds, only, planned

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.plan import Plan
from edgebuild.core.progress import Silence
from edgebuild.errors import StepError
from edgebuild.search.strategy import Candidate, Proposal

# What shrinks to what, for all targets of this strategy: each round a pair of plans that need not wait for one another.
SCHEMES = ((Scheme.FLOAT32, Scheme.FLOAT16), (Scheme.DYNAMIC, Scheme.INT8))


class Smallest:
    """Tries schemes in rounds of two, and stops after a round in which nothing became smaller."""

    def __init__(self, _: object) -> None:
        self.rounds: list[list[str]] = []

    def propose(self, seen: Sequence[Candidate]) -> Sequence[Proposal]:
        self.rounds.append([candidate.name for candidate in seen])
        done = (len(seen) - 1) // 2
        if done == len(SCHEMES) or (done and _size(min(seen[-2:], key=_size)) >= _size(min(seen[:-2], key=_size))):
            return ()
        return [Proposal(str(scheme), _with(seen[0].plan, scheme), why="it may be smaller") for scheme in SCHEMES[done]]

    def ranked(self, seen: Sequence[Candidate]) -> Sequence[Candidate]:
        return sorted(seen, key=_size)

    def ending(self, seen: Sequence[Candidate]) -> str:
        return f"the smallest of {len(seen)} is left"


def _size(candidate: Candidate) -> float:
    return candidate.manifest.artifact.size_bytes if candidate.manifest is not None else float("inf")


def _with(plan: Plan, scheme: Scheme) -> Plan:
    quantize = replace(plan.quantize, scheme=scheme, input=DType.FLOAT32, output=DType.FLOAT32)
    return replace(plan, passes=tuple(quantize if isinstance(step, Quantize) else step for step in plan.passes))


class Heard(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


def _bench() -> Bench:
    """The file as planned is of int8 with float ends; the smallest is that of dynamic range."""
    bench = Bench()
    bench.tails = {"net float32": ("RELU",) * 30, "net float16": ("RELU",) * 25, "net int8": ("RELU",) * 5}
    return bench


def test_the_smallest_is_published_with_all_that_were_seen(tmp_path: Path) -> None:
    bench, heard, made = _bench(), Heard(), []

    def strategy(means: object) -> Smallest:
        made.append(Smallest(means))
        return made[-1]

    outcomes, fake = built(tmp_path, bench, planned(**PLAIN), strategy=strategy, listener=heard)
    manifest = only(outcomes)
    first = ["as planned", "float32", "float16"]
    assert made[0].rounds == [first[:1], first]  # nothing of the first round was smaller
    assert bench.text((tmp_path / "dist" / "arm64" / "kws.tflite").read_bytes()) == "net int8"
    assert [rung.name for rung in manifest.repair] == first
    assert manifest.notes[-1] == "arm64: the smallest of 3 is left"
    assert "arm64: it may be smaller; trying float16" in heard.notes
    assert len([kind for kind in kinds(fake) if kind == "measure"]) == 3


def test_a_proposal_that_fails_or_makes_nothing_new_is_seen_as_such_and_the_next_best_is_left(tmp_path: Path) -> None:
    bench = _bench()
    bench.tails["net int8"] = ("RELU",) * 40
    bench.errors["quantize net float16"] = StepError("no float16 here")
    seen: list[Candidate] = []

    class Watching(Smallest):
        def ending(self, all_of_them: Sequence[Candidate]) -> str:
            seen.extend(all_of_them)
            return super().ending(all_of_them)

    outcomes, _ = built(tmp_path, bench, planned(**PLAIN), strategy=Watching)
    manifest = only(outcomes)
    assert [(item.name, item.manifest is not None) for item in seen] == [
        ("as planned", True),
        ("float32", True),
        ("float16", False),
        ("dynamic", True),
        ("int8", False),  # that was built already
    ]
    assert any("float16 could not be tried: no float16 here" in note for note in manifest.notes)
    assert any("int8 made nothing new" in note for note in manifest.notes)
    assert bench.text((tmp_path / "dist" / "arm64" / "kws.tflite").read_bytes()) == "net dynamic"
    assert (manifest.plan.quantize.scheme, len(manifest.repair)) == (Scheme.DYNAMIC, 3)


def test_one_that_misses_the_accuracy_budget_is_evaluated_in_all_ways_only_when_it_is_left(tmp_path: Path) -> None:
    bench = _bench()
    bench.tails["net int8"] = ("RELU",) * 40
    bench.scores = {"net float32": 0.5, "net dynamic": 0.5}
    outcomes, fake = built(tmp_path, bench, planned(**PLAIN), strategy=Smallest)
    manifest = only(outcomes)
    assert bench.text((tmp_path / "dist" / "arm64" / "kws.tflite").read_bytes()) == "net dynamic"
    assert {"latency", "size"} <= {str(figure.subject) for figure in manifest.measurements}
    assert [rung.kept for rung in manifest.repair] == [True, False, True, False]
    # As planned and float16, which keep it, and what is left.
    assert kinds(fake).count("measure") == 3
    assert kinds(fake)[-1] in ("measure", "score", "delegation", "outputs", "parity")


def test_each_target_has_a_strategy_of_its_own(tmp_path: Path) -> None:
    made: list[Smallest] = []

    def strategy(means: object) -> Smallest:
        made.append(Smallest(means))
        return made[-1]

    outcomes, _ = built(tmp_path, _bench(), planned(**PLAIN), planned("raspberry-pi-4", **PLAIN), strategy=strategy)
    assert all(outcome.error is None for outcome in outcomes)
    assert [len(each.rounds) for each in made] == [2, 2]


def test_the_ladder_gives_up_with_the_reasons_and_leaves_the_build_as_planned_where_nothing_is_better(
    tmp_path: Path,
) -> None:
    bench = Bench()
    bench.splits = {"learning_samples": 0, "learning_sha256": "", "learning_has_answers": False}
    bench.scores = {"net int8": 0.5} | {f"net+{passes} int8": 0.4 for passes in ("calibrate", "equalize+calibrate")}
    heard = Heard()
    outcomes, _ = built(tmp_path, bench, planned("edgetpu", **PLAIN), listener=heard)
    manifest = only(outcomes)
    assert bench.text((tmp_path / "dist" / "edgetpu" / "kws.tflite").read_bytes()) == "net int8"
    assert [rung.name for rung in manifest.repair][1:] == [
        "better ranges",
        "equalization and bias correction",
    ]
    assert manifest.notes[-1].endswith(
        "the ladder ends here: edgetpu runs no operators in float, and none in int16, and there are no train data to "
        "learn from"
    )
    assert "edgetpu: the accuracy budget is missed; trying better ranges" in heard.notes


def test_int16_and_training_are_the_last_rungs_where_the_target_takes_them(tmp_path: Path) -> None:
    bench = Bench()
    bench.scores = dict.fromkeys(
        ("net int8", "net+equalize+calibrate int8", "net+calibrate int8", "net+equalize int16x8"), 0.5
    )
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED), vet=False)
    manifest = only(outcomes)
    assert [rung.name for rung in manifest.repair] == ["as planned", "int16x8", "quantization-aware training"]
    assert manifest.repair[-1].kept
    assert any(note.endswith("the accuracy budget is kept by quantization-aware training") for note in manifest.notes)
