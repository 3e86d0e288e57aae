from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import ACCURACY

from edgebuild import config, targets
from edgebuild.cli import options
from edgebuild.core.budget import Subject
from edgebuild.core.passes import Scheme
from edgebuild.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(text: str, name: str = "edgebuild.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _load(text: str = "", **options: Any) -> config.Configuration:
    if text:
        _write(text)
    return config.load(options, {})


def test_without_anything_all_settings_are_defaults() -> None:
    configuration = _load()
    assert set(configuration.layered.origins.values()) == {"default", "default of the example"}
    assert configuration.file is None
    assert configuration.settings.metric.name == "auto"
    assert (configuration.settings.build.out, configuration.settings.build.targets) == ("dist", ())


def test_the_example_is_trained_briefly_and_a_network_of_ones_own_is_not() -> None:
    example, longer = _load(), _load(train={"time": "1 min"})
    assert example.layered.origin_of("train.time") == "default of the example"
    assert longer.settings.train.time == 60
    for table in ("model", "data"):
        named = _load(**{table: {"path": "mine.npz"}})
        assert set(named.layered.origins.values()) == {"default", "options"}
        assert named.settings.train.time > 10 * example.settings.train.time


def test_options_lie_over_the_environment_over_the_file_over_the_defaults() -> None:
    _write('[model]\npath = "file.keras"\nname = "n"\n[data]\npath = "file.npz"\n[build]\nout = "file"')
    environment = {"EDGEBUILD_MODEL": "env.keras", "EDGEBUILD_DATA": "env.npz", "EDGEBUILD_TARGETS": "mcu, arm64"}
    found = config.load({"model": {"path": "option.keras"}}, environment)
    settings = found.settings
    assert (settings.model.path, settings.data.path, settings.build.out) == ("option.keras", "env.npz", "file")
    assert settings.build.targets == ("mcu", "arm64")
    origins = {path: found.layered.origin_of(path) for path in ("model.path", "data.path", "build.out", "model.name")}
    assert origins == {
        "model.path": "options",
        "data.path": "EDGEBUILD_DATA",
        "build.out": "edgebuild.toml",
        "model.name": "edgebuild.toml",
    }
    assert found.layered.origin_of("bench.runs") == "default"


def test_an_empty_variable_says_nothing() -> None:
    _write('[build]\nout = "file"')
    assert config.load({}, {"EDGEBUILD_OUT": ""}).settings.build.out == "file"


def test_other_variables_are_not_read() -> None:
    assert config.load({}, {"OUT": "x", "EDGEBUILD_STORE": "y"}).settings.build.out == "dist"


def test_paths_in_the_file_are_relative_to_its_folder() -> None:
    path = _write('[model]\npath = "net.keras"\n[data]\npath = "/abs/d.npz"\n[build]\nout = "o"', "sub/my.toml")
    settings = config.load({}, {}, file=path).settings
    assert (settings.model.path, settings.data.path, settings.build.out) == ("sub/net.keras", "/abs/d.npz", "sub/o")


def test_a_profile_named_by_its_path_in_the_file_is_relative_to_its_folder() -> None:
    _write('extends = "mcu"', "sub/board.toml")
    path = _write('[build]\ntargets = ["board.toml", "mcu"]', "sub/my.toml")
    assert config.load({}, {}, file=path).settings.build.targets == ("sub/board.toml", "mcu")


def test_a_function_named_in_the_file_is_no_path() -> None:
    path = _write('[model]\npath = "nets.small:make"\n[data]\npath = "d:load"', "sub/my.toml")
    settings = config.load({}, {}, file=path).settings
    assert (settings.model.path, settings.data.path) == ("nets.small:make", "d:load")


def test_paths_in_options_and_the_environment_are_relative_to_the_working_folder() -> None:
    path = _write("", "sub/my.toml")
    settings = config.load({"build": {"out": "o"}}, {"EDGEBUILD_DATA": "d.npz"}, file=path).settings
    assert (settings.build.out, settings.data.path) == ("o", "d.npz")


def test_the_file_here_is_not_read_where_it_is_not_asked_for() -> None:
    _write('[build]\nout = "file"')
    assert config.load({}, {}, use_file=False).settings.build.out == "dist"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[modle]\npath = 'x'", 'modle is not a known key; did you mean "model"? (edgebuild.toml)'),
        ("[bench]\nrun = 5", 'bench.run is not a known key; did you mean "runs"? (edgebuild.toml)'),
        ("[bench]\nruns = 'many'", "bench.runs: Expected `int`, got `str` (edgebuild.toml)"),
        ("[bench]\ntime = 5", "bench.time: 5 has no unit"),
        ("[data]\nevaluation_share = 0.2", "data.evaluation_share: 0.2 has no unit"),
        ("[targets]\nmcu = 3", "targets"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_path(text: str, mistake: str) -> None:
    with pytest.raises(UsageError) as caught:
        _load(text)
    assert caught.value.why.startswith(mistake)


@pytest.mark.parametrize(
    "tables",
    [
        {"data": {"seed": -1}},
        {"data": {"calibration_samples": -5}},
        {"data": {"evaluation_share": "150 %"}},
        {"metric": {"name": "top-k", "k": 0}},
    ],
    ids=["seed", "calibration samples", "evaluation share", "k"],
)
def test_a_setting_out_of_its_range_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        _load(**tables)


@pytest.mark.parametrize("data", [b"[model\n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(data: bytes) -> None:
    Path("edgebuild.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"edgebuild\.toml cannot be read"):
        _load()


def test_a_configuration_that_was_named_must_exist() -> None:
    with pytest.raises(UsageError, match=r"other\.toml does not exist"):
        config.load({}, {}, file=Path("other.toml"))


def test_a_folder_is_no_configuration(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        config.load({}, {}, file=folder)


def test_tables_for_a_target_lie_over_its_profile() -> None:
    found = _load('[targets.mcu.memory]\nram = "64 KiB"\n[targets.arm64.memory]\nram = "1 GiB"')
    target, layered = targets.load("mcu", ACCURACY, found.over_profile("mcu"))
    assert target.memory.ram == 65_536
    assert layered.origin_of("memory.ram") == "edgebuild.toml"


def test_a_targets_own_budgets_lie_over_those_of_all_and_options_over_both() -> None:
    text = '[budgets]\nsize = "3 KB"\nactivations = "3 KB"\n[targets.mcu.budgets]\nsize = "2 KB"\nactivations = "2 KB"'
    found = _load(text, budgets={"activations": {"limit": "1 KB"}})
    over = {
        name: {
            budget.subject: budget.limit
            for budget in targets.load(name, ACCURACY, found.over_profile(name)).target.budgets
        }
        for name in ("mcu", "arm64")
    }
    assert (over["mcu"][Subject.SIZE], over["mcu"][Subject.ACTIVATIONS]) == (2000, 1000)
    assert (over["arm64"][Subject.SIZE], over["arm64"][Subject.ACTIVATIONS]) == (3000, 1000)


def test_a_quantization_asked_for_replaces_that_of_every_profile() -> None:
    found = _load('[targets.mcu.passes.quantize]\nscheme = "int16x8"', passes={"quantize": {"scheme": "dynamic"}})
    target = targets.load("mcu", ACCURACY, found.over_profile("mcu")).target
    assert target.passes.quantize.scheme == Scheme.DYNAMIC


def test_passes_for_every_target_lie_below_those_of_one_and_below_the_options() -> None:
    found = _load(
        '[passes.prune]\nsparsity = "60 %"\n[targets.mcu.passes.prune]\nsparsity = "70 %"',
        passes={"cluster": {"clusters": 8}},
    )
    mcu, edgetpu = (targets.load(name, ACCURACY, found.over_profile(name)).target.passes for name in ("mcu", "edgetpu"))
    assert mcu.prune is not None
    assert edgetpu.prune is not None
    assert (mcu.prune.sparsity, edgetpu.prune.sparsity) == pytest.approx((0.7, 0.6))
    assert mcu.cluster is not None
    assert mcu.cluster.clusters == 8


def test_networks_that_are_named_are_looked_up_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "edgebuild.toml"
    file.write_text(
        '[passes.student]\nnetwork = "small.keras"\n[targets.mcu.passes.student]\nnetwork = "mine:tiny"\n'
        '[[distill.teachers]]\nnetwork = "large.h5"\n'
    )
    found = config.load({}, {}, file=file)
    assert found.settings.distill.teachers[0].network == str(tmp_path / "large.h5")
    student = targets.load("edgetpu", ACCURACY, found.over_profile("edgetpu")).target.passes.student
    assert student is not None
    assert student.network == str(tmp_path / "small.keras")
    student = targets.load("mcu", ACCURACY, found.over_profile("mcu")).target.passes.student
    assert student is not None
    assert student.network == "mine:tiny"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("train.epochs=20", {"train": {"epochs": 20}}),
        ("passes.channels.keep=50%", {"passes": {"channels": {"keep": "50%"}}}),
        ("passes.channels=off", {"passes": {"channels": "off"}}),
        ('passes.channels.exclude=["stem"]', {"passes": {"channels": {"exclude": ["stem"]}}}),
        ("build.compress=false", {"build": {"compress": False}}),
        ("train.augment=mine:shift", {"train": {"augment": "mine:shift"}}),
    ],
)
def test_any_setting_can_be_an_option(text: str, tree: dict[str, object]) -> None:
    assert options.setting(text) == tree


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train..epochs=3"])
def test_a_setting_without_a_key_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="says nothing"):
        options.setting(text)


def test_a_mistake_in_a_targets_table_is_told_with_its_file() -> None:
    found = _load("[targets.mcu.memory]\nrum = '1 KB'")
    with pytest.raises(UsageError) as caught:
        targets.load("mcu", ACCURACY, found.over_profile("mcu"))
    assert caught.value.why == 'memory.rum is not a known key; did you mean "ram"? (edgebuild.toml)'


@pytest.mark.parametrize("name", ["accuracy", "top-k", "auc", "mse", "mae", "scores:f1", "pack.scores:f1"])
def test_a_metric_is_built_in_or_a_function(name: str) -> None:
    assert _load(metric={"name": name}).settings.metric.name == name


@pytest.mark.parametrize(("name", "hint"), [("acuracy", 'mean "accuracy"'), ("f1", ""), ("a b:c", ""), ("scores:", "")])
def test_an_unknown_metric_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f'no metric is called "{name}"') as caught:
        _load(metric={"name": name})
    assert hint in caught.value.what


@pytest.mark.parametrize(
    ("path", "expected"),
    [("mod:f", True), ("a.b:f", True), ("net.keras", False), (r"C:\net.h5", False), ("a/b:f", False), (":f", False)],
)
def test_a_function_is_told_from_a_file(path: str, expected: bool) -> None:
    assert config.is_callable(path) is expected


def test_a_per_channel_mean_and_a_fraction_are_read() -> None:
    preprocess = _load('[preprocess]\nmean = [1.0, 2.0, 3.0]\nscale = "1/255"').settings.preprocess
    assert preprocess.mean == (1.0, 2.0, 3.0)
    assert preprocess.scale == pytest.approx(1 / 255)
    assert not preprocess.is_identity
    assert _load(preprocess={"mean": 0.0, "scale": 1.0}).settings.preprocess.is_identity
