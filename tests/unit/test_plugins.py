from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import strangers
from making import DATA, IDENTITY, MODEL, budget as making_budget, figure, manifest, plan as making_plan
from sessions import opened

from edgebuild import config, hashing, metrics, plugins, targets, testing
from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.actions.runtimes import COMPILE, CompileJob
from edgebuild.cli import run
from edgebuild.core import place
from edgebuild.core.action import names_plugin
from edgebuild.core.budget import Subject
from edgebuild.core.device import DeviceReport
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.manifest import Manifest
from edgebuild.core.metric import Metric
from edgebuild.core.passes import Equalize, Pass, PluginPass, QuantizeAware
from edgebuild.core.settings import BenchSettings, MetricSettings, ReportFormat
from edgebuild.core.target import Accelerator, Interpreter, Kernels, Runtime, Target
from edgebuild.errors import EdgebuildError, StepError, UnavailableError, UsageError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.gating import budgets, judgeable
from edgebuild.layering import Layer, overlay
from edgebuild.passes import carry, plugged
from edgebuild.passes.graph import files
from edgebuild.pipeline import device_figures, doctor, places, publish, sources
from edgebuild.plan import plan
from edgebuild.plugins import Group, finding
from edgebuild.report import formats
from edgebuild.search.accuracy_recovery import Means, refinements

LITERT = Runtime(name=Interpreter.LITERT, kernels=Kernels.XNNPACK)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return strangers.installed(tmp_path / "site", monkeypatch)


def _asked(name: str) -> MetricSettings:
    return config.load({"metric": {"name": name}}, {}, use_file=False).settings.metric


def _offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, *points: str, group: str = "metrics", name: str = "odd"
) -> None:
    """A package whose module odd.py holds this source, and whose entry points are points of it, by the same names."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    strangers.distribution(folder, f"{name}-package", {group: dict.fromkeys(points, f"{name}:OFFER")})
    strangers.on_path(folder, monkeypatch)


def test_a_metric_of_a_stranger_is_scored_by_its_name_in_its_direction(installed: Path) -> None:
    metric = plugins.metric(_asked("worst-class"))
    assert metric.plugin is not None
    assert (metric.plugin.package, metric.plugin.version) == ("edge-stranger", "1.2")
    assert (metric.is_share, metric.less_is_more, metric.is_known) == (True, False, True)
    outputs, y = np.eye(2)[[0, 0, 1, 0]], np.array([0, 0, 1, 1])
    assert metrics.score(outputs, y, metric) == 0.5
    misses = plugins.metric(_asked("misses"))
    assert (misses.is_share, misses.less_is_more) == (False, True)
    assert metrics.score(outputs, y, misses) == 1.0


def test_what_a_plugin_runs_decides_what_plans_hold_of_it(installed: Path) -> None:
    before = plugins.metric(_asked("worst-class")).plugin
    assert before == plugins.metric(_asked("worst-class")).plugin
    source = installed / "edge_stranger" / "scores.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    after = plugins.metric(_asked("worst-class")).plugin
    assert before is not None
    assert after is not None
    assert before.code != after.code


def test_names_of_edgebuild_are_used_without_reading_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(group: Group) -> None:
        raise AssertionError(f"{group} was read")

    monkeypatch.setattr(finding, "_points", unread)
    for name in ("auto", "accuracy", "F1Score", "my.module:score"):
        assert plugins.metric(_asked(name)).plugin is None


def test_an_unknown_name_is_answered_with_those_of_plugins(installed: Path) -> None:
    with pytest.raises(UsageError, match=r'"worst-clas"; did you mean "worst-class"\?'):
        _asked("worst-clas")


@pytest.mark.parametrize(
    ("source", "points", "said"),
    [
        ("OFFER = 1", ("accuracy",), r"metric accuracy of the package odd-package has the name of a built-in metric"),
        ("OFFER = 1", ("Odd",), r"metric Odd of the package odd-package has a name that cannot be written"),
        ("import nothing_there", ("odd",), r"cannot be imported\nodd:OFFER: ModuleNotFoundError: .*nothing_there"),
        ("1 / 0", ("odd",), r"cannot be imported\nodd:OFFER: ZeroDivisionError"),
        ("raise SystemExit(0)", ("odd",), r"cannot be imported\nodd:OFFER: SystemExit: 0"),
        ("OTHER = 1", ("odd",), r"cannot be imported\nodd:OFFER: AttributeError"),
        ("OFFER = 1", ("odd",), r"odd:OFFER is an int, not an edgebuild.plugins.MetricPlugin"),
        (
            "from edgebuild.plugins import MetricPlugin\nOFFER = MetricPlugin(run='odd.score')",
            ("odd",),
            r'odd:OFFER has run = \'odd.score\', which is not "module:function"',
        ),
        (
            "from edgebuild.plugins import MetricPlugin\nOFFER = MetricPlugin(run='nowhere:score')",
            ("odd",),
            r"there is no module nowhere",
        ),
    ],
)
def test_a_wrong_plugin_is_one_error_that_names_its_package(
    source: str, points: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "site", monkeypatch, source, *points)
    with pytest.raises(UsageError) as caught:
        plugins.metric(_asked("odd"))
    assert re.search(said, str(caught.value))
    assert "odd-package" in str(caught.value)


def test_a_wrong_plugin_is_no_bug_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _offered(tmp_path / "site", monkeypatch, "1 / 0", "odd")
    monkeypatch.chdir(tmp_path)
    assert run(["--target", "arm64", "--metric", "odd", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said


def test_two_packages_may_not_bring_one_name(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _offered(tmp_path / "other", monkeypatch, "OFFER = 1", "misses")
    with pytest.raises(UsageError, match=r"two packages bring the metric misses: .*edge-stranger"):
        plugins.metric(_asked("misses"))


def test_work_of_plugins_is_done_by_a_process_of_its_own_on_this_machine(installed: Path) -> None:
    metric = plugins.metric(_asked("misses"))
    assert names_plugin(metric)
    assert not names_plugin(Metric(name="accuracy"))


def test_reports_of_edgebuild_and_of_a_stranger_are_files_beside_the_manifest(installed: Path) -> None:
    built = manifest(measurements=(figure("size", 1000),))
    files = formats.files(built, ("text", "card", "json", "lines"))
    assert list(files) == ["reports/summary.txt", "reports/card.md", "reports/verdict.json", "reports/lines.txt"]
    assert files["reports/lines.txt"].decode().startswith(f"{built.target}: {built.verdict.status}\n")
    assert built.name in files["reports/card.md"].decode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", r"report format odd \(odd-package 1.2\) failed\nZeroDivisionError"),
        ("return 'text'", r"returned str, not a mapping"),
        ("return {'../up.txt': ''}", r"the path '../up.txt', which is not one below a folder"),
        ("return {'/up.txt': ''}", r"the path '/up.txt'"),
        ("return {'a.txt': 1}", r"returned int for a.txt"),
        ("return {}", r"returned no files"),
        ("return {'summary.txt': ''}", r"two report formats write reports/summary.txt"),
    ],
)
def test_a_report_that_cannot_be_written_is_one_error(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"from edgebuild.plugins import ReportPlugin\nOFFER = ReportPlugin(run='odd:it')\ndef it(_):\n    {body}\n"
    _offered(tmp_path / "site", monkeypatch, source, "odd", group="reports")
    with pytest.raises(StepError) as caught:
        formats.files(manifest(measurements=(figure("size", 1000),)), ("text", "odd"))
    assert re.search(said, str(caught.value))


def test_an_unknown_report_is_refused_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["--target", "arm64", "--report", "text,jsn"]) == 2
    assert 'no report format is called "jsn"; did you mean "json"?' in capsys.readouterr().err


PROFILE = """
extends = "arm64"
[accelerator]
compiler = "sxc"
configuration = "sx1-64"
"""
DENSE = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=8, out_channels=4)


def _accelerator(folder: Path, profile: str = PROFILE) -> Accelerator:
    path = folder / "sx.toml"
    path.write_text(profile, encoding="utf-8")
    found = targets.load(str(path), Metric(name="accuracy")).target.accelerator
    assert found is not None
    return found


def test_a_compiler_of_a_stranger_is_run_on_the_artifact_and_tells_what_budgets_limit(
    installed: Path, tmp_path: Path
) -> None:
    accelerator = _accelerator(tmp_path)
    assert (accelerator.called, accelerator.tells) == ("sx1-64", (Subject.NPU_LATENCY,))
    artifact = tmp_path / "dense.tflite"
    artifact.write_bytes(timed_parts.artifact_of_layer(DENSE))
    with opened(tmp_path) as session:
        job = CompileJob(artifact=str(session.give_file(artifact)), accelerator=accelerator)
        made = session.run(COMPILE.action(job))
        assert made.result.mapping.share == 1
        assert session.path(made.ref(made.result.compiled)).read_bytes() == b"SX1\0" + artifact.read_bytes()
        figures = device_figures.of_device(DeviceReport(npu=made.result), None, {}, LITERT)
        assert {figure.subject: figure.value for figure in figures} == {"npu_share": 1, "npu_latency": 1e-3}
        other = msgspec.structs.replace(accelerator, configuration="wrong")
        with pytest.raises(StepError, match=r"compiler sxc \(edge-stranger 1.2\) returned \w+, not an edgebuild"):
            session.run(COMPILE.action(msgspec.structs.replace(job, accelerator=other)))
        missing = msgspec.structs.replace(accelerator, configuration="not-here")
        with pytest.raises(UnavailableError, match="not installed"):
            session.run(COMPILE.action(msgspec.structs.replace(job, accelerator=missing)))
    assert testing.check_compiler("sxc", artifact).mapping.share == 1


def test_a_budget_that_a_compiler_does_not_tell_is_refused(installed: Path, tmp_path: Path) -> None:
    accelerator = _accelerator(tmp_path)
    of = judgeable.Of("sx", Interpreter.LITERT, accelerator, has_costs_of_its_own=True)
    judgeable.require([making_budget("npu_latency", 1.0)], of)
    with pytest.raises(UsageError, match="npu_sram"):
        judgeable.require([making_budget("npu_sram", 1.0)], of)


def test_a_profile_cannot_name_a_compiler_that_is_not_there_nor_the_code_of_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'no compiler is called "vella"; did you mean "vela"\?'):
        _accelerator(tmp_path, PROFILE.replace("sxc", "vella"))
    with pytest.raises(UsageError, match="plugin is not a known key"):
        _accelerator(tmp_path, PROFILE.replace("sxc", "vela") + 'plugin = "mine"\n')


def _target(**passes: object) -> Target:
    return targets.load("arm64", Metric(name="accuracy"), [Layer("test", {"passes": passes})]).target


def test_passes_of_a_stranger_stand_among_the_others_where_they_say(installed: Path) -> None:
    target = _target(cluster={}, prune={}, student={}, coarse={"bits": 3}, cut={}, fades={})
    assert [step.called for step in target.compressions] == [
        "student",
        "channels",
        "prune",
        "coarse",
        "fades",
        "cluster",
    ]
    assert [step.called for step in target.refinements] == ["equalize", "cut", "calibrate"]
    coarse = target.compressions[3]
    assert isinstance(coarse, PluginPass)
    assert (coarse.settings, coarse.works_untrained, coarse.observes, coarse.learns) == ({"bits": 3}, True, True, False)
    assert [step.called for step in _target(coarse="off", prune="off").compressions] == ["channels"]


def test_settings_of_a_strangers_pass_are_read_as_strictly_as_others(installed: Path) -> None:
    with pytest.raises(
        UsageError, match=r"passes.coarse: 1 mistake\nbit is not a known key; did you mean \"bits\"\? \(test\)"
    ):
        _target(coarse={"bit": 3})
    with pytest.raises(UsageError, match=r"passes.coarse: 1 mistake\nbits: Expected `int`"):
        _target(coarse={"bits": "many"})
    with pytest.raises(UsageError, match=r"passes.coarce is not a known key"):
        _target(coarce={})


def test_a_manifest_with_what_strangers_did_is_read_without_their_packages(installed: Path) -> None:
    target = _target(coarse={"bits": 3}, channels="off")
    metric = plugins.metric(_asked("misses"))
    built = manifest(plan=making_plan(passes=(*target.compressions, making_plan().quantize), metric=metric))
    data = msgspec.json.encode(built)
    for path in installed.iterdir():
        shutil.rmtree(path)
    assert msgspec.json.decode(data, type=Manifest) == built
    assert "make weights coarse\n" in formats.files(built, ["card"])["reports/card.md"].decode()


PASS = """
import msgspec
from edgebuild.plugins import PassPlugin
class Settings(msgspec.Struct, frozen=True):
    share: float{default}
OFFER = PassPlugin(run="odd:run", settings=Settings, title="odd", after={after!r})
"""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (PASS.format(default="", after="prune"), "odd:OFFER has settings without a default for share"),
        (PASS.format(default=" = 0.5", after="qat"), "odd:OFFER has after = 'qat', which is none of '', 'student'"),
        (PASS.format(default=" = 0.5", after="").replace(", frozen=True", ""), "has settings that are not frozen"),
        (PASS.format(default=" = 0.5", after="").replace("=Settings", "={}"), "which is no msgspec.Struct"),
    ],
)
def test_a_wrong_pass_is_refused_before_anything_is_built(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "site", monkeypatch, source, "odd", group="passes")
    with pytest.raises(UsageError) as caught:
        _target(odd={})
    assert said in str(caught.value)


@pytest.mark.slow
def test_passes_are_tried_by_the_conformance_kit(installed: Path) -> None:
    assert "trained" in testing.check_pass("fades")
    testing.check_pass("equalize")
    lines = installed / "small.layers"
    lines.write_text("4 softmax", encoding="utf-8")
    assert testing.check_importer("layers", str(lines)).outputs[0].shape == (1, 4)


def test_metrics_of_edgebuild_and_of_a_stranger_pass_the_conformance_kit(installed: Path) -> None:
    assert testing.check_metric("worst-class") == 1
    assert testing.check_metric("misses") == 0
    for name in ("accuracy", "top-k", "auc"):
        assert testing.check_metric(name) == 1
    with pytest.raises(testing.ConformanceError, match='no metric is called "nothing"'):
        testing.check_metric("nothing")


SCORE = """
from edgebuild.plugins import MetricPlugin
OFFER = MetricPlugin(run="odd:score", {fields})
def score(outputs, y):
    {body}
"""


@pytest.mark.parametrize(
    ("fields", "body", "said"),
    [
        ("", "return 1 - (outputs.argmax(axis=-1) == y).mean()", "is 0.0 for labels that fit and 1.0 for others"),
        ("is_share=True", "return 2", "is 2.0, and `is_share` says a share of one"),
        ("", "outputs[:] = 0; return 1", "changes its arrays"),
        ("", "return float('nan')", "is not a finite number"),
        ("", "import random; return random.random()", "for the same arrays"),
        ("", "return 1 / 0", "ZeroDivisionError"),
        ("", "return None", "TypeError"),
    ],
)
def test_the_conformance_kit_says_what_is_wrong_with_a_metric(
    fields: str, body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "site", monkeypatch, SCORE.format(fields=fields, body=body), "odd")
    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_metric("odd")
    assert str(caught.value).startswith("the metric odd")
    assert said in str(caught.value)


def test_reports_of_edgebuild_and_of_a_stranger_pass_the_conformance_kit(installed: Path) -> None:
    for name in (*ReportFormat, "lines"):
        assert testing.check_report(name, manifest(measurements=(figure("size", 1000),)))


def test_a_device_of_a_stranger_is_named_like_others_and_passes_the_conformance_kit(installed: Path) -> None:
    board = plugins.place("board:tty0")
    assert (board.label, board.is_remote, board.emulates) == ("board:tty0", True, False)
    assert testing.check_device("board:tty0").machine == "board at tty0"
    read = budgets.read(
        overlay([Layer("test", {"latency": {"limit": "5 ms", "on": "board:tty0"}})]), plugins.metric(_asked("auto"))
    )
    assert read[0].on == "board:tty0"
    assert places.wanted(_settings(on=["host", "board:tty0"]), read) == [plugins.place("host"), board]
    for text, said in (("board", "write board:PORT"), ("bord:1", "plug-ins bring board"), ("host:1", "write host, ")):
        with pytest.raises(ValueError, match=said):
            plugins.place(text)
    with pytest.raises(
        testing.ConformanceError, match=r"device board \(edge-stranger 1.2\) failed\nOSError: no carrier"
    ):
        testing.check_device("board:broken")
    with pytest.raises(UnavailableError, match="there is no board at gone"):
        testing.check_device("board:gone")
    assert testing.check_device("host").kernels == "reference"


def test_a_recorded_place_is_read_without_the_plugin(tmp_path: Path) -> None:
    read = place.read("board:tty0")
    assert (read.label, read.emulates) == ("board:tty0", False)
    assert place.read("arm64:cortex-a72").emulates


DEVICE = """
from edgebuild.plugins import DevicePlugin
from edgebuild.runtimes.places.protocol import Block, Closing, Loaded
OFFER = DevicePlugin(run="odd:open_place")
class Worker:
    loaded = Loaded(machine="odd", kernels="builtin", versions={{}})
    def block(self, *, time_s, most):
        return Block(samples=(1.0,), wall_s=1.0)
    def outputs(self, samples):
        return [[bytes(512)] for _ in samples]
    def close(self):
        return Closing()
{change}
class Place:
    def start(self, artifact, how):
        return Worker()
    def close(self):
        pass
def open_place(*_):
    return Place()
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", ""),
        ("Worker.loaded = None", "returned NoneType of `loaded`, not a Loaded"),
        ("del Worker.outputs", "returned Worker, which has no method outputs"),
        ("Worker.block = lambda self, **_: Block(samples=(), wall_s=1.0)", "a block of 0 samples where 1 to 5 were"),
        (
            "Worker.outputs = lambda self, samples: [[b'']] * 2",
            "gives outputs of [0] bytes, and the file has outputs of",
        ),
        ("Worker.outputs = lambda self, samples: [[bytes(512)], [b'1' * 512]]", "other outputs for the same sample"),
        ("Worker.close = lambda self: None", "returned NoneType of `close`, not a Closing"),
    ],
)
def test_the_conformance_kit_says_what_is_wrong_with_a_device(
    change: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "site", monkeypatch, DEVICE.format(change=change), "odd", group="devices")
    if not said:
        assert testing.check_device("odd").machine == "odd"
        return
    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_device("odd")
    assert said in str(caught.value)


def _settings(**bench: object) -> BenchSettings:
    return config.load({"bench": bench}, {}, use_file=False).settings.bench


IMPORTER = """
from edgebuild.plugins import ImporterPlugin
OFFER = ImporterPlugin(run="odd:read", takes={takes})
"""


def test_an_importer_takes_what_edgebuild_does_not_read(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, archive = tmp_path / "small.layers", tmp_path / "small.zip"
    for path in (lines, archive):
        path.write_text("4 softmax", encoding="utf-8")
    found = sources.model(str(lines))
    assert found.plugin is not None
    assert (found.kind, found.plugin.name, found.sha256) == ("imported", "layers", hashing.of_file(lines))
    with pytest.raises(UsageError, match=r"small\.zip is no network that can be read"):
        sources.model(str(archive))
    _offered(
        tmp_path / "second", monkeypatch, IMPORTER.format(takes="lambda text: '://' in text"), "odd", group="importers"
    )
    found = sources.model("hub://small")
    assert (found.kind, found.sha256) == ("imported", "")
    toml = tmp_path / "edgebuild.toml"
    toml.write_text('[model]\npath = "hub://small"\n', encoding="utf-8")
    assert config.load({}, {}, file=toml).settings.model.path == "hub://small"


@pytest.mark.parametrize(
    ("takes", "said"),
    [
        (
            "lambda text: 1 / 0",
            "the importer odd (odd-package 1.2) failed\nZeroDivisionError: division by zero (odd.py",
        ),
        ("'.zip'", "odd:OFFER has `takes`, which is not a function"),
        ("lambda text: text.endswith('.layers')", "two importers take"),
    ],
)
def test_a_wrong_importer_is_one_error(
    takes: str, said: str, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "second", monkeypatch, IMPORTER.format(takes=takes), "odd", group="importers")
    monkeypatch.chdir(tmp_path)
    Path("small.layers").write_text("4 softmax", encoding="utf-8")
    with pytest.raises(EdgebuildError) as caught:
        sources.model("small.layers")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "NoneType, not a path"),
        ("/elsewhere/net.keras", "not below the folder that it was given"),
        ("net.keras", "the path net.keras, where there is nothing"),
        ("net.onnx", "the file net.onnx, which is no .keras or .h5 file"),
        ("folder", "the folder folder, which holds no saved_model.pb"),
        ("net.h5", ""),
    ],
)
def test_what_an_importer_leaves_must_be_a_network(found: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("net.onnx", "net.h5"):
        (tmp_path / name).write_bytes(b"")
    left = tmp_path / found if found is not None else None
    assert plugged.misfit_of_import(left, tmp_path).endswith(said)
    assert bool(plugged.misfit_of_import(left, tmp_path)) == bool(said)


def test_a_rebuild_takes_away_the_reports_that_it_does_not_write(tmp_path: Path) -> None:
    for reports in ({"reports/lines.txt": b"old", "reports/card.md": b"old"}, {"reports/card.md": b"new"}):
        publish.publish(manifest(reports=tuple(reports)), {"kws.tflite": b"TFL3", **reports}, tmp_path)
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["card.md"]
    assert (tmp_path / "reports" / "card.md").read_bytes() == b"new"


def test_plugins_and_their_faults_are_listed_by_doctor(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offered(tmp_path / "odd", monkeypatch, "1 / 0", "odd", group="reports")
    _offered(tmp_path / "bad", monkeypatch, "OFFER = 1", "vela", group="compilers", name="bad")
    found = {item.name: item for item in doctor.examine(tmp_path / "store") if item.use == "is a plug-in"}
    assert (found["pass coarse"].is_there, found["pass coarse"].detail) == (True, "edge-stranger 1.2")
    assert not found["report format odd"].is_there
    assert "ZeroDivisionError" in found["report format odd"].detail
    assert "has the name of a built-in compiler" in found["compiler edgebuild.compilers"].detail
    assert {"device board", "importer layers", "metric misses", "report format lines"} < found.keys()


def test_a_strangers_refinement_stays_in_what_is_tried_for_the_accuracy(installed: Path) -> None:
    target = _target(cut={}, calibrate={"rounding": "nearest"})
    planned = plan(target, config.load({}, {}, use_file=False).settings, MODEL, DATA)
    means = Means(True, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))
    tried = [[step.called for step in proposal.plan.refinements] for proposal in refinements(planned, means)]
    assert tried
    assert all(names == ["equalize", "cut", "calibrate"] for names in tried)


def _done(step: Pass, folder: Path) -> Compressed:
    """A pass on the network that the kit tries passes on, in this process."""
    graph = carry.graph_of(testing.NETWORK, allow_code=False)
    network = folder / "network.npz"
    files.save(graph, network)
    job = CompressJob(
        settings=step,
        network=str(network),
        original=str(network),
        lesson=None,
        calibration="",
        preprocess=IDENTITY,
        latencies=None,
        float_layers=(),
        seed=0,
        out=str(folder),
    )
    return plugged.run(job, lambda _: None)


def test_a_pass_of_a_stranger_gets_the_network_and_gives_one_with_the_same_ends(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = _target(coarse={"bits": 3}, cut={})
    coarse, cut = (
        next(s for s in target.compressions + target.refinements if s.called == n) for n in ("coarse", "cut")
    )
    found = _done(coarse, tmp_path)
    assert found.notes == ("weights are multiples of 0.125; 0 samples seen",)
    graph = files.load(tmp_path / "network.npz")
    assert graph.identity() == found.identity_sha256
    weights = np.concatenate([array.ravel() for layer in graph.layers.values() for array in layer.weights.values()])
    assert np.array_equal(weights, np.round(weights * 8) / 8)
    assert list(graph.layers) == ["first", "second", "pool", "classes"]
    with pytest.raises(
        StepError, match=r"pass cut \(edge-stranger 1.2\) returned a network with the outputs \['\[16\]"
    ):
        _done(cut, tmp_path)
    source = PASS.format(default=" = 0.5", after="") + "def run(work):\n    return {}[work.settings.share]\n"
    _offered(tmp_path / "odd", monkeypatch, source, "odd", group="passes")
    (odd, *_) = _target(odd={"share": 0.25}).compressions
    with pytest.raises(StepError, match=r"pass odd \(odd-package 1.2\) failed\nKeyError: 0.25 \(odd.py, line 8\)"):
        _done(odd, tmp_path)
