"""What becomes of a named budget, over commands, budgets and what is missing: never exit code 0 without a judgement."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema
from making import FIGURES, budget, figure, manifest, plan
from tflite_networks import Network

from edgebuild import api, config
from edgebuild.cli import run
from edgebuild.core.budget import Subject
from edgebuild.core.measurement import Measurement
from edgebuild.core.target import Accelerator, Compiler, Interpreter, Kernels, Runtime
from edgebuild.errors import StepError, UsageError
from edgebuild.pipeline.build import Outcome
from edgebuild.pipeline.figures import describe, of_file
from edgebuild.runtimes.tflm import wheel

LITERT = Runtime(name=Interpreter.LITERT, kernels=Kernels.XNNPACK)
TARGETS: dict[str, dict[str, Any]] = {
    "mcu": {},
    "arm64": {"runtime": LITERT},
    "raspberry-pi-4": {"runtime": LITERT, "board": "Raspberry Pi 4 Model B"},
    "edgetpu": {"runtime": LITERT, "accelerator": Accelerator(compiler=Compiler.EDGETPU)},
    "ethos-u55-128": {"accelerator": Accelerator(compiler=Compiler.VELA)},
}
# A limit that any figure keeps, and one that none does; shares and scores the other way round.
LOOSE = dict.fromkeys(Subject, "1 GB") | {
    Subject.ACCURACY: "1 %", Subject.ACCURACY_DROP: "99 %", Subject.NPU_SHARE: "1 %", Subject.INSTRUCTIONS: "900 G",
    Subject.LATENCY: "9 h", Subject.FIRST_INFERENCE: "9 h", Subject.LOAD: "9 h", Subject.NPU_LATENCY: "9 h",
    Subject.ENERGY: "9000 J",
}  # fmt: skip
TIGHT = dict.fromkeys(Subject, "1 B") | {
    Subject.ACCURACY: "100 %", Subject.ACCURACY_DROP: "0 %", Subject.NPU_SHARE: "100 %", Subject.INSTRUCTIONS: "1",
    Subject.LATENCY: "1 ns", Subject.FIRST_INFERENCE: "1 ns", Subject.LOAD: "1 ns", Subject.NPU_LATENCY: "1 ns",
    Subject.ENERGY: "1 nJ",
}  # fmt: skip
OF_FILE = {Subject.SIZE, Subject.GZIP_SIZE, Subject.ACTIVATIONS}
SCORES = {Subject.ACCURACY, Subject.ACCURACY_DROP}
COSTS = {Subject.LATENCY, Subject.FIRST_INFERENCE, Subject.LOAD, Subject.ENERGY, Subject.PEAK_MEMORY}
OF_NPU = {Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM}
# What can be judged of each without naming a device.
POSSIBLE = {
    "mcu": OF_FILE | SCORES | {Subject.ARENA, Subject.FLASH},
    "arm64": OF_FILE | SCORES | COSTS | {Subject.INSTRUCTIONS},
    "raspberry-pi-4": OF_FILE | SCORES | {Subject.INSTRUCTIONS},
    "edgetpu": OF_FILE | SCORES | {Subject.NPU_SHARE},
    "ethos-u55-128": OF_FILE | SCORES | OF_NPU | {Subject.FLASH},
    "file": OF_FILE | COSTS | {Subject.INSTRUCTIONS, Subject.ARENA},
}
ELSEWHERE = (
    figure("instructions", 6_000_000, where="arm64:cortex-a72"),
    figure("first_inference", 1e-3, where="host"),
    figure("load", 1e-3, where="host"),
    figure("energy", 1e-3, where="host"),
    figure("arena", 6_000, where="tflm"),
    figure("flash", 50_000),
    figure("npu_share", 0.9, where="npu"),
    figure("npu_latency", 1e-3, where="npu"),
    figure("npu_sram", 1_000, where="npu"),
)
RECORDED = tuple(item for item in (*FIGURES, *ELSEWHERE) if item.subject not in ("size", "gzip_size"))


class Ended(NamedTuple):
    """A command that was run twice, as text and as JSON: both ended alike."""

    code: int
    text: str
    document: Any

    @property
    def checks(self) -> dict[str, Any]:
        """The checks of the one artifact there is, by subject."""
        (found,) = self.document
        return {check["budget"]["subject"]: check for check in found["verdict"]["checks"]}

    @property
    def error(self) -> dict[str, Any]:
        """Why there is no verdict."""
        whole = self.document if isinstance(self.document, dict) else self.document[0]
        return dict(whole["error"])


def _network() -> bytes:
    network = Network()
    given, made = network.tensor("x", [1, 4]), network.tensor("y", [1, 4])
    network.operator(schema.BuiltinOperator.RELU, [given], [made])
    return network.packed([given], [made])


def _publish(folder: Path, target: str, figures: tuple[Measurement, ...], **fields: Any) -> Path:
    """What a build for a target leaves, with no budget of its own."""
    data = _network()
    artifact = describe("kws.tflite", data)
    spec = plan(**{"target": target, "budgets": (), **TARGETS[target], **fields.pop("plan", {})})
    measurements = (*of_file(artifact), *figures)
    made = manifest((), target=target, artifact=artifact, measurements=measurements, plan=spec, **fields)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kws.tflite").write_bytes(data)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made))
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds for every kind of target, with all figures recorded or with none but the file's own; and a bare file."""
    out = tmp_path_factory.mktemp("table")
    for target in TARGETS:
        _publish(out / "all" / target, target, RECORDED)
        _publish(out / "none" / target, target, ())
    (out / "bare.tflite").write_bytes(_network())
    (out / "damaged").mkdir()
    (out / "damaged" / "manifest.json").write_text('{"schema_version": 1')
    return out


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("folder"))
    monkeypatch.setenv("EDGEBUILD_STORE", str(shared / "table-store"))
    monkeypatch.setenv("EDGEBUILD_SSH", "false")
    monkeypatch.setenv("EDGEBUILD_ARM64_ROOT", os.devnull)


@pytest.fixture(autouse=True)
def _measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown as text and as JSON is one measurement: two would each have their own noise."""
    bench, kept = api.bench, []

    def once(*arguments: Any, **more: Any) -> Any:
        if not kept:
            kept.append(bench(*arguments, **more))
        return kept[0]

    monkeypatch.setattr(api, "bench", once)


def _ended(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run a command line for people and for programs; both must end alike."""
    words = [str(argument) for argument in arguments]
    code = run(words)
    shown = capsys.readouterr()
    found = run([*words, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert found == code
    return Ended(code, shown.out + shown.err, document)


def _is_honest(ended: Ended, subject: Subject, level: str = "error") -> None:
    """The rule of the table: a row for the budget that was named, or an error that names it; and never a silent 0."""
    if ended.code == 2:
        told = "\n".join(map(str, ended.error.values()))
        assert ended.error["exit_code"] == 2
        assert str(subject) in told, told
        assert ended.error["remedy"], told
        assert str(subject) in ended.text
        return
    status = ended.checks[subject]["status"]
    (found,) = ended.document
    assert f"verdict: {found['verdict']['status']}" in ended.text
    assert ended.code == {"pass": 0, "warn": 0, "fail": 1, "inconclusive": 5}[found["verdict"]["status"]]
    if status == "pass":
        assert ended.checks[subject]["value"] is not None
        assert ended.checks[subject]["basis"]
    if ended.checks[subject]["value"] is None:
        assert status == ("inconclusive" if level == "error" else "warn")
        assert ended.checks[subject]["reason"]


@pytest.mark.parametrize("missing", ["nothing", "figure"])
@pytest.mark.parametrize("subject", list(Subject))
@pytest.mark.parametrize("target", list(TARGETS))
def test_check_judges_every_budget_or_says_why_not(
    dist: Path, capsys: pytest.CaptureFixture[str], target: str, subject: Subject, missing: str
) -> None:
    place = dist / ("all" if missing == "nothing" else "none") / target
    is_there = missing == "nothing" or subject in (Subject.SIZE, Subject.GZIP_SIZE)
    for limit, status in ((LOOSE, "pass"), (TIGHT, "fail")) if is_there else ((LOOSE, "pass"),):
        ended = _ended(capsys, "check", place, "-b", f"{subject}={limit[subject]}")
        _is_honest(ended, subject)
        if subject not in POSSIBLE[target]:
            assert ended.code == 2
        else:
            assert ended.checks[subject]["status"] == (status if is_there else "inconclusive")


@pytest.mark.parametrize(
    ("target", "subject"),
    [(name, item) for name in ("mcu", "arm64", "file") for item in Subject if item not in POSSIBLE[name]],
)
def test_bench_refuses_what_it_cannot_judge_before_it_measures(
    dist: Path, capsys: pytest.CaptureFixture[str], target: str, subject: Subject
) -> None:
    place = dist / "bare.tflite" if target == "file" else dist / "all" / target
    ended = _ended(capsys, "bench", place, "--quiet", "-b", f"{subject}={TIGHT[subject]}")
    _is_honest(ended, subject)
    assert ended.code == 2
    assert f"{subject}=off" in ended.error["remedy"]


BRIEFLY = ("--quiet", "--set", "bench.workers=1", "--set", "bench.runs=200", "--set", "bench.time=0.2s")


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("mcu", "nothing"),
        ("file", "figure"),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in (("mcu", "figure"), ("arm64", "nothing"))),
    ],
)
def test_bench_judges_all_else_by_what_it_measures_and_what_was_recorded(
    dist: Path, capsys: pytest.CaptureFixture[str], target: str, missing: str
) -> None:
    place = dist / ("all" if missing == "nothing" else "none") / target
    named = [subject for subject in Subject if subject in POSSIBLE[target]]
    limits = [word for subject in named for word in ("-b", f"{subject}={TIGHT[subject]}")]
    ended = _ended(capsys, "bench", dist / "bare.tflite" if target == "file" else place, *BRIEFLY, *limits)
    assert ended.code == 1
    assert set(ended.checks) == set(named)
    recorded = SCORES | {Subject.FLASH}
    for subject in named:
        _is_honest(ended, subject)
        status = ended.checks[subject]["status"]
        if subject in recorded:
            assert status == ("fail" if missing == "nothing" else "inconclusive"), subject
        elif subject == Subject.ARENA and (target == "file" or missing == "figure") and wheel.version() is None:
            assert "is not installed" in ended.checks[subject]["reason"]
        elif subject == Subject.INSTRUCTIONS:
            assert status == "inconclusive", "there is no emulator"
        elif subject == Subject.ENERGY:
            assert status in ("fail", "inconclusive"), "not every machine tells it"
        elif subject == Subject.LATENCY:
            assert status in ("fail", "inconclusive"), "a moment may be too short for an interval"
        else:
            assert status == "fail", subject


@pytest.mark.parametrize("level", ["error", "warn"])
@pytest.mark.parametrize("subject", sorted(COSTS))
def test_check_never_passes_a_device_that_was_not_measured(
    dist: Path, capsys: pytest.CaptureFixture[str], subject: Subject, level: str
) -> None:
    limit = f"{subject}={LOOSE[subject]},on=ssh:nobody@nowhere.invalid,level={level}"
    ended = _ended(capsys, "check", dist / "none" / "raspberry-pi-4", "-b", limit)
    _is_honest(ended, subject, level)
    assert ended.code == (5 if level == "error" else 0)
    assert "no figure" in ended.text
    assert "edgebuild bench measures it" in ended.text


def test_bench_never_passes_a_device_that_is_not_there(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on = "on=ssh:nobody@nowhere.invalid"
    limits = ("-b", f"latency=9h,{on}", "-b", f"load=9h,{on},level=warn")
    ended = _ended(capsys, "bench", dist / "none" / "raspberry-pi-4", *BRIEFLY, *limits)
    _is_honest(ended, Subject.LATENCY)
    _is_honest(ended, Subject.LOAD, "warn")
    assert ended.code == 5
    (found,) = ended.document
    assert found["verdict"]["requirements"] == [], "the budgets named it, and nothing else did"


@pytest.mark.parametrize("subject", [item for item in Subject if item not in (*SCORES, "npu_share", "energy")])
@pytest.mark.parametrize("command", ["check", "bench", "build"])
def test_a_limit_against_a_baseline_that_nobody_named_is_refused(
    dist: Path, capsys: pytest.CaptureFixture[str], command: str, subject: Subject
) -> None:
    target = next(name for name in ("arm64", "mcu", "ethos-u55-128") if subject in POSSIBLE[name])
    rest: tuple[object, ...] = (command, dist / "all" / target)
    if command == "build":
        rest = ("build", "-t", target, "--dry-run")
    ended = _ended(capsys, *rest, "-b", f"{subject}=+5%")
    _is_honest(ended, subject)
    assert ended.code == 2
    assert "--against" in ended.error["remedy"]


@pytest.mark.parametrize("subject", list(Subject))
@pytest.mark.parametrize("target", ["mcu", "arm64", "edgetpu"])
def test_a_build_refuses_what_its_target_has_not_before_it_begins(
    capsys: pytest.CaptureFixture[str], target: str, subject: Subject
) -> None:
    words = ("build", "-t", target, "--dry-run", "-b", f"{subject}={LOOSE[subject]}")
    if subject in POSSIBLE[target]:
        assert run(list(words)) == 0
        assert "no verdict" in capsys.readouterr().out
        return
    ended = _ended(capsys, *words)
    _is_honest(ended, subject)
    assert ended.code == 2


@pytest.mark.parametrize("subject", list(Subject))
@pytest.mark.parametrize("target", list(TARGETS))
def test_what_a_refusal_says_to_write_is_not_refused(
    dist: Path, capsys: pytest.CaptureFixture[str], target: str, subject: Subject
) -> None:
    if subject in POSSIBLE[target]:
        assert subject not in COSTS or target == "arm64"
        return
    place = dist / "all" / target
    refused = _ended(capsys, "check", place, "-b", f"{subject}={LOOSE[subject]}")
    remedy = refused.error["remedy"]
    assert f"{subject}=off" in remedy
    assert _ended(capsys, "check", place, "-b", f"{subject}=off").code == 0
    devices = re.findall(r"on=([a-z0-9:@-]+)", remedy)
    assert bool(devices) == (subject in (*COSTS, Subject.INSTRUCTIONS))
    for device in devices:
        named = _ended(capsys, "check", place, "-b", f"{subject}={LOOSE[subject]},on={device}")
        assert named.code in (0, 5), "judged, or not measured there"
        assert named.checks[subject]["budget"]["on"] == device
    others = set(re.findall(r"(?:Limit|or|Write) (\w+)(?:=|[ ,])", remedy)) & {str(item) for item in Subject}
    for other in others - {str(subject)}:
        instead = _ended(capsys, "check", place, "-b", f"{other}={LOOSE[Subject(other)]}")
        assert instead.code == 0, other


@pytest.mark.parametrize("table", ["[budgets]\n{}\n", "[targets.mcu.budgets]\n{}\n"])
@pytest.mark.parametrize("command", ["check", "bench", "build"])
def test_what_edgebuild_toml_says_is_judged_like_an_option(
    dist: Path, capsys: pytest.CaptureFixture[str], command: str, table: str
) -> None:
    network = '[model]\npath = "net.keras"\n' if command == "build" else ""
    Path("net.keras").write_bytes(b"a network")
    Path("edgebuild.toml").write_text(network + table.format('latency = "5 ms"'))
    rest: tuple[object, ...] = (command, dist / "all" / "mcu")
    if command == "build":
        rest = ("build", "-t", "mcu", "--dry-run")
    ended = _ended(capsys, *rest)
    _is_honest(ended, Subject.LATENCY)
    assert ended.code == 2
    assert "edgebuild.toml" in ended.text
    assert "on=tflm" in ended.error["remedy"]


@pytest.mark.parametrize(
    ("written", "statuses"), [("1 GB", ["fail", "pass"]), ("1 B", ["fail"]), ("off", []), ("+5 %", None)]
)
def test_what_a_device_has_of_memory_limits_whatever_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, statuses: list[str] | None
) -> None:
    memory = budget("size", 100, origin="memory.flash in targets/mcu.toml")
    place = _publish(tmp_path / "small" / "mcu", "mcu", (), plan={"budgets": (memory,)})
    ended = _ended(capsys, "check", place, "-b", f"size={written}")
    if statuses is None:
        assert ended.code == 2
        return
    (found,) = ended.document
    assert [check["status"] for check in found["verdict"]["checks"]] == statuses


@pytest.mark.parametrize("command", ["check", "bench"])
def test_a_table_for_a_target_that_there_is_not_is_refused(
    dist: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("edgebuild.toml").write_text('[targets.mcuu.budgets]\nsize = "1 B"\n')
    ended = _ended(capsys, command, dist / "all" / "mcu")
    assert (ended.code, ended.error["exit_code"]) == (2, 2)
    assert 'did you mean "mcu"?' in ended.text


@pytest.mark.parametrize(("baseline", "is_required"), [("damaged", False), ("no-such-ref", True)])
def test_a_named_baseline_that_cannot_be_used_stands_in_the_verdict(
    dist: Path, capsys: pytest.CaptureFixture[str], baseline: str, is_required: bool
) -> None:
    named = dist / baseline if baseline == "damaged" else baseline
    more = ["--require-baseline"] if is_required else []
    words = ("bench", dist / "all" / "arm64", *BRIEFLY, "--against", named, "-b", "size=+5%", *more)
    ended = _ended(capsys, *words)
    status, code = ("inconclusive", 5) if is_required else ("warn", 0)
    (found,) = ended.document
    assert [item["status"] for item in found["verdict"]["requirements"]] == [status]
    assert (ended.code, ended.checks["size"]["status"]) == (code, status)
    last = ended.text.strip().splitlines()[-1]
    assert last.startswith(f"verdict: {status} (baseline {named}: no comparison: ")


def test_a_required_baseline_must_be_named(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("bench", dist / "all" / "arm64"), ("build", "-t", "arm64", "--dry-run")):
        ended = _ended(capsys, *words, "--require-baseline")
        assert (ended.code, ended.error["what"]) == (2, "a baseline is required, and none is named")
    ended = _ended(capsys, "check", dist / "all" / "arm64", "--require-baseline")
    (found,) = ended.document
    assert (ended.code, found["verdict"]["status"]) == (5, "inconclusive")
    (missing,) = found["verdict"]["requirements"]
    assert "was compared with none" in missing["reason"], "one may be named by now: it is too late for this build"


def test_a_place_that_was_named_and_is_not_there_is_inconclusive_in_text_json_and_exit_code(
    dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "ssh:nobody@nowhere.invalid"
    limit = f"latency=9h,on={place},level=warn"
    ended = _ended(capsys, "bench", dist / "all" / "arm64", *BRIEFLY, "--on", place, "-b", limit)
    _is_honest(ended, Subject.LATENCY, "warn")
    (found,) = ended.document
    assert (ended.code, found["verdict"]["status"]) == (5, "inconclusive")
    assert [item["what"] for item in found["verdict"]["requirements"]] == [f"figures on {place}"]


@pytest.mark.parametrize("verb", ["inspect", "diff", "history", "targets", "doctor", "calibrate"])
def test_a_command_that_judges_nothing_refuses_budgets(
    dist: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = (verb, dist / "bare.tflite", *((dist / "bare.tflite",) if verb == "diff" else ()))
    ended = _ended(capsys, *words, "-b", "size=1B")
    assert (ended.code, ended.error["exit_code"]) == (2, 2)
    assert "judges no budgets: edgebuild bench FILE" in ended.error["remedy"]


@pytest.fixture
def rubbish(tmp_path: Path) -> Path:
    path = tmp_path / "rubbish.tflite"
    path.write_bytes(b"no flatbuffer")
    return path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("check", "no-such-folder"), 2),
        (("check", "--no-such-option"), 2),
        (("chekc",), 2),
        (("bench", "no-such-folder"), 2),
        (("bench", "no-such.tflite"), 4),
        (("bench", "RUBBISH"), 4),
        (("inspect", "RUBBISH"), 4),
        (("inspect", "no-such.tflite"), 4),
        (("diff", "RUBBISH", "RUBBISH"), 4),
        (("history", "nothing"), 2),
        (("targets", "arm46"), 2),
        (("--target", "arm46"), 2),
        (("no-such.keras", "--target", "arm64"), 2),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_every_exit_code_comes_with_a_document(
    rubbish: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int
) -> None:
    ended = _ended(capsys, *[rubbish if word == "RUBBISH" else word for word in words])
    assert (ended.code, ended.error["exit_code"]) == (code, code)
    assert ended.error["what"] in ended.text


@pytest.mark.parametrize(
    ("raised", "code"), [(RuntimeError("oops"), 3), (KeyboardInterrupt(), 130), (OSError("no"), 4)]
)
def test_a_bug_and_an_interrupt_come_with_a_document_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    def ends(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr(api, "check", ends)
    ended = _ended(capsys, "check", "dist")
    assert (ended.code, ended.error["exit_code"]) == (code, code)


def test_a_target_that_could_not_be_built_stands_beside_the_others(
    dist: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = manifest((budget("size", 10**9),))
    failed = Outcome("arm64", None, StepError("it could not be converted", "Because.", "Do this."))
    monkeypatch.setattr(api, "build_all", lambda *_: [Outcome("mcu", made, None), failed])
    ended = _ended(capsys, "build", "-t", "mcu", "-t", "arm64", "--quiet")
    assert ended.code == 4
    built, lacking = ended.document
    assert (built["target"], built["verdict"]["status"]) == ("mcu", "pass")
    assert lacking["target"] == "arm64"
    assert lacking["error"] == {
        "exit_code": 4,
        "what": "it could not be converted",
        "why": "Because.",
        "remedy": "Do this.",
    }
    assert "verdict: failed, no artifact for arm64" in ended.text


def test_what_ends_several_targets_for_the_same_reason_is_said_once(
    dist: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [StepError("the network fails", "Because.", "Do this.") for _ in range(2)]
    outcomes = [
        Outcome("mcu", None, same[0]),
        Outcome("edgetpu", None, StepError("edgetpu: no room")),
        Outcome("arm64", None, same[1]),
    ]
    monkeypatch.setattr(api, "build_all", lambda *_: outcomes)
    words = ["build", "-t", "mcu", "-t", "edgetpu", "-t", "arm64", "--quiet"]
    ended = _ended(capsys, *words)
    assert ended.code == 4
    assert [item["target"] for item in ended.document] == ["mcu", "edgetpu", "arm64"]
    run(words)
    said = capsys.readouterr().err
    assert (
        said == "\nmcu, arm64:\nerror: the network fails\n  Because.\n  Do this.\n\nedgetpu:\nerror: edgetpu: no room\n"
    )


def test_check_says_once_that_builds_were_compared_with_nothing(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", str(dist / "all"), "-b", "size=+5%"]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert f"error: {', '.join(sorted(TARGETS))}: the budget on size cannot be judged\n" in said
    assert "size (options): it is against a baseline, and this build was compared with none." in said
    # What it says to do.
    assert run([*words, "-b", "size=off"]) == 0
    file = str(dist / "bare.tflite")
    ended = _ended(capsys, "bench", file, "-b", "size=+5%", "--against", file, "--set", "bench.time=100ms")
    assert {check["status"] for check in ended.checks.values()} == {"pass"}


def test_a_strict_inspection_prints_one_document(
    dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.tflite"
    path.write_bytes((dist / "bare.tflite").read_bytes()[:-8])
    code = run(["inspect", str(path), "--strict", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (code == 0) == (not document.get("doubts") and "error" not in document)


def test_python_users_get_the_same_refusal(dist: Path) -> None:
    Path("net.keras").write_bytes(b"a network")
    with pytest.raises(UsageError, match="mcu: the budget on latency cannot be judged"):
        api.build("net.keras", target="mcu", budgets={"latency": "5 ms"})
    known = config.load({"budgets": {"accuracy": "90 %"}}, {}, use_file=False)
    with pytest.raises(UsageError, match=r"bare.tflite: the budget on accuracy cannot be judged"):
        api.bench(dist / "bare.tflite", known)
