from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator
from making import ACCURACY

from edgebuild import targets
from edgebuild.core.budget import Level, Subject
from edgebuild.core.model import version_key
from edgebuild.core.passes import DType, Pattern, Scheme
from edgebuild.errors import UsageError
from edgebuild.flatbuffer.reader import runtime_versions
from edgebuild.layering import Layer, flatten

SHIPPED = targets.names()
DEVICES = [name for name in SHIPPED if targets.load(name, ACCURACY).target.device is not None]
OPERATORS = {name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}
# What a profile says of a device; its board is its name, not a figure.
_FIGURES = (
    *("runtime.version", "memory.", "device.", "accelerator.memory", "accelerator.system_config"),
    *("budgets.size", "budgets.activations", "budgets.arena", "budgets.flash", "budgets.npu"),
)

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return put


def test_the_profiles_that_are_promised_are_there() -> None:
    assert {"arm64", "mcu", "edgetpu"} <= set(SHIPPED)
    assert sorted(SHIPPED) == SHIPPED
    assert len(DEVICES) >= 3


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_profile_loads_under_its_name(name: str) -> None:
    target = targets.load(name, ACCURACY).target
    assert target.name == name
    assert target.description


def _figures(resolved: targets.ResolvedTarget) -> dict[str, str]:
    """The figures of a profile by the path that a source explains, and where each was written."""
    layered = resolved.layered
    paths = [path for path in flatten(layered.values) if path.startswith(_FIGURES) and not path.endswith(".level")]
    return {path.removesuffix(".limit"): layered.origin_of(path) for path in paths if path != "device.board"}


@pytest.mark.parametrize("name", DEVICES)
def test_each_figure_of_a_device_names_its_source(name: str) -> None:
    resolved = targets.load(name, ACCURACY)
    figures = _figures(resolved)
    assert figures
    assert [path for path in figures if not resolved.target.sources.get(path, "").strip()] == []


@pytest.mark.parametrize("name", DEVICES)
def test_a_figure_of_a_device_has_its_source_in_the_file_that_says_it(name: str) -> None:
    resolved = targets.load(name, ACCURACY)
    explained = {path: resolved.layered.origins.get(f"sources.{path}") for path in _figures(resolved)}
    assert explained == _figures(resolved)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_source_explains_something_that_the_profile_says(name: str) -> None:
    target, layered = targets.load(name, ACCURACY)
    said = flatten(layered.values)
    assert [path for path in target.sources if path not in said and f"{path}.limit" not in said] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_allowed_operators_are_operators(name: str) -> None:
    allowed = targets.load(name, ACCURACY).target.operators.allowed or ()
    assert set(allowed) <= OPERATORS
    assert len(set(allowed)) == len(allowed)


def test_the_table_of_runtimes_names_operators() -> None:
    assert set(runtime_versions()) <= OPERATORS
    assert len(runtime_versions()) > 100


def test_newer_versions_of_an_operator_never_need_an_older_runtime() -> None:
    for name, versions in runtime_versions().items():
        keys = [version_key(version) for version in versions if version]
        assert keys == sorted(keys), name
        assert all(len(key) == 3 and min(key[:1]) >= 1 for key in keys), name


@pytest.mark.parametrize("name", SHIPPED)
def test_budgets_of_a_device_leave_room_in_its_memory(name: str) -> None:
    target = targets.load(name, ACCURACY).target
    limits = {budget.subject: budget.limit for budget in target.budgets}
    if target.memory.flash is not None:
        assert limits[Subject.SIZE] <= target.memory.flash
    if target.memory.ram is not None and Subject.ACTIVATIONS in limits:
        assert limits[Subject.ACTIVATIONS] <= target.memory.ram


def test_a_profile_takes_from_the_one_it_extends_what_it_does_not_say() -> None:
    board, base = (targets.load(name, ACCURACY) for name in ("raspberry-pi-pico", "mcu"))
    assert board.target.operators == base.target.operators
    assert board.target.memory.ram == 264 * 1024
    assert base.target.memory.ram == 256 * 1024
    assert board.layered.origin_of("memory.ram") == "targets/raspberry-pi-pico.toml"
    assert board.layered.origin_of("operators.allowed") == "targets/mcu.toml"


def test_a_profile_of_ones_own_extends_a_shipped_one(write: Write) -> None:
    path = write("board.toml", 'extends = "mcu"\n[memory]\nram = "64 KiB"\n[budgets]\nsize = "100 KB"')
    target, layered = targets.load(str(path), ACCURACY)
    assert target.name == "board"
    assert (target.memory.ram, target.memory.flash) == (65_536, 1_048_576)
    assert layered.origin_of("memory.ram") == str(path)
    limits = {budget.subject: (budget.limit, budget.origin) for budget in target.budgets}
    assert limits[Subject.SIZE] == (100_000, str(path))
    assert limits[Subject.ACTIVATIONS] == (65_536, f"memory.ram in {path}"), "the promise of mcu is more than there is"


def test_a_promise_that_was_switched_off_stays_off_whatever_the_memory(write: Write) -> None:
    path = write("board.toml", 'extends = "mcu"\n[budgets]\nsize = "off"')
    subjects = [budget.subject for budget in targets.load(str(path), ACCURACY).target.budgets]
    assert Subject.SIZE not in subjects
    assert Subject.ACTIVATIONS in subjects


def test_a_profile_may_extend_the_shipped_one_of_its_own_name(write: Write) -> None:
    path = write("arm64.toml", 'extends = "arm64"\ndescription = "ours"')
    target = targets.load(str(path), ACCURACY).target
    assert (target.name, target.description, target.io.input) == ("arm64", "ours", DType.FLOAT32)


@pytest.mark.parametrize(
    ("key", "value"), [("version", "v2.9"), ("version", "two"), ("name", "litret")], ids=["v", "word", "runtime"]
)
def test_a_runtime_that_cannot_be_meant_is_refused(write: Write, key: str, value: str) -> None:
    path = write("board.toml", f'extends = "arm64"\n[runtime]\n{key} = "{value}"')
    with pytest.raises(UsageError, match=f"runtime.{key}"):
        targets.load(str(path), ACCURACY)


def test_a_chain_of_profiles_is_followed_to_its_end(write: Write) -> None:
    write("family/base.toml", 'extends = "mcu"\n[budgets]\nsize = "1 KB"\nactivations = "1 KB"')
    write("board.toml", 'extends = "family/base.toml"\n[budgets]\nsize = "2 KB"')
    path = write("mine.toml", 'extends = "board"\ndescription = "mine"')
    target = targets.load(str(path), ACCURACY).target
    limits = {budget.subject: budget.limit for budget in target.budgets}
    assert (limits[Subject.SIZE], limits[Subject.ACTIVATIONS]) == (2000, 1000)
    assert (target.description, target.passes.quantize.scheme) == ("mine", Scheme.INT8)


def test_overrides_lie_over_the_profile() -> None:
    over = [
        Layer("edgebuild.toml", {"budgets": {"size": {"limit": "9 KB", "level": "warn"}}, "io": {"input": "uint8"}}),
        Layer("options", {"budgets": {"size": {"limit": "8 KB"}, "accuracy_drop": "off"}}),
    ]
    target = targets.load("mcu", ACCURACY, over).target
    budgets = {budget.subject: budget for budget in target.budgets}
    assert (budgets[Subject.SIZE].limit, budgets[Subject.SIZE].level) == (8000, Level.WARN)
    assert Subject.ACCURACY_DROP not in budgets
    assert (target.io.input, target.io.output) == (DType.UINT8, DType.INT8)


@pytest.mark.parametrize(
    "extends",
    [{"a": "b", "b": "a"}, {"a": "b.toml", "b": "a.toml"}, {"a": "b", "b": "c", "c": "b"}],
    ids=["each other", "each other by path", "further down"],
)
def test_profiles_that_extend_each_other_in_a_circle_are_refused(write: Write, extends: dict[str, str]) -> None:
    for name, above in extends.items():
        write(f"{name}.toml", f'extends = "{above}"')
    with pytest.raises(UsageError, match="in a circle"):
        targets.load(str(write("start.toml", 'extends = "a"')), ACCURACY)


def test_an_unknown_key_is_told_with_the_closest_known_one_and_its_file(write: Write) -> None:
    path = write("board.toml", 'extends = "mcu"\n[memory]\nrom = "64 KiB"')
    with pytest.raises(UsageError) as caught:
        targets.load(str(path), ACCURACY)
    assert caught.value.why == f'memory.rom is not a known key; did you mean "ram"? ({path})'


def test_a_pass_that_is_asked_for_has_its_defaults_and_their_origin() -> None:
    over = [Layer("edgebuild.toml", {"passes": {"prune": {"sparsity": "80 %"}}})]
    found = targets.load("mcu", ACCURACY, over)
    assert found.target.passes.prune is not None
    assert found.target.passes.prune.sparsity == 0.8
    assert found.target.passes.prune.pattern == Pattern.UNSTRUCTURED
    assert found.layered.origin_of("passes.prune.sparsity") == "edgebuild.toml"
    assert found.layered.origin_of("passes.prune.pattern") == "default"
    assert targets.load("mcu", ACCURACY).target.passes.prune is None


def test_a_pass_can_be_switched_off_and_on_again() -> None:
    off = Layer("edgebuild.toml", {"passes": {"channels": "off"}})
    assert targets.load("arm64", ACCURACY, [off]).target.passes.channels is None
    on = Layer("options", {"passes": {"channels": {"keep": "90 %"}}})
    channels = targets.load("arm64", ACCURACY, [off, on]).target.passes.channels
    assert channels is not None
    assert (channels.keep, channels.multiple) == (0.9, 8)


def test_shares_for_single_layers_have_units_too() -> None:
    over = [Layer("test", {"passes": {"prune": {"layers": {"dense": "30 %", "conv": 0.5}}}})]
    with pytest.raises(UsageError, match="1 mistake") as caught:
        targets.load("mcu", ACCURACY, over)
    assert "passes.prune.layers.conv" in caught.value.why
    assert "has no unit" in caught.value.why


def test_a_profile_that_extends_nothing_must_be_whole(write: Write) -> None:
    with pytest.raises(UsageError) as caught:
        targets.load(str(write("board.toml", 'description = "half"')), ACCURACY)
    missing = [line.split()[0] for line in caught.value.why.splitlines()]
    assert missing == ["runtime", "io", "operators", "passes.quantize"]


def test_an_unknown_name_is_told_with_the_closest_known_one() -> None:
    with pytest.raises(UsageError, match=r'no target is called "arm46"; did you mean "arm64"\?'):
        targets.load("arm46", ACCURACY)


def test_a_path_without_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no such file"):
        targets.load(str(tmp_path / "none.toml"), ACCURACY)


@pytest.mark.parametrize("text", ["extends = [1]", "extends = 3"])
def test_only_one_profile_can_be_extended(write: Write, text: str) -> None:
    with pytest.raises(UsageError, match="extends names one profile"):
        targets.load(str(write("board.toml", text)), ACCURACY)


def test_a_file_that_is_no_toml_is_told_with_its_line(write: Write) -> None:
    path = write("board.toml", 'extends = "mcu"\n[memory\n')
    with pytest.raises(UsageError, match=r"board\.toml cannot be read(.|\n)*line 2"):
        targets.load(str(path), ACCURACY)


def test_a_budget_of_a_profile_that_cannot_be_read_is_told_with_its_file(write: Write) -> None:
    path = write("board.toml", 'extends = "mcu"\n[budgets]\nsize = "64"')
    with pytest.raises(UsageError) as caught:
        targets.load(str(path), ACCURACY)
    assert caught.value.why.startswith("size: '64' has no unit")
    assert str(path) in caught.value.why


def test_a_limit_keeps_the_units_it_was_written_in_and_so_does_memory() -> None:
    over = [Layer("options", {"budgets": {"size": "60 KiB", "gzip_size": "50 KB"}})]
    found = {budget.subject: budget.binary for budget in targets.load("mcu", ACCURACY, over).target.budgets}
    assert found[Subject.SIZE]
    assert not found[Subject.GZIP_SIZE]
    assert found[Subject.ACTIVATIONS], "the limit is the profile's memory.ram, 256 KiB"
