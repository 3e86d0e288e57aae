"""Actions as values: what decides their keys, what is bound where they are done, and the code that belongs to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgebuild.actions.measuring import MEASURE, MeasureJob
from edgebuild.actions.scores import SCORE, At, ScoreAtJob
from edgebuild.actions.table import KINDS
from edgebuild.core.action import Bound, Kind, Ref, parse, with_files
from edgebuild.execution import code, keys

ROOT = Path(__file__).parents[2]
REF = Ref("ab" * 32, "cd" * 32, "folder/model.tflite")


class Values:
    """Makes values of types; those of another seed differ in every part."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, info: Any) -> Any:
        made = getattr(self, f"_{type(info).__name__}", None)
        assert made is not None, f"no value is made of {info}"
        return made(info)

    def _StrType(self, info: Any) -> str:  # noqa: N802
        return f"text{self._seed}"

    def _BytesType(self, info: Any) -> bytes:  # noqa: N802
        return f"bytes{self._seed}".encode()

    def _BoolType(self, info: Any) -> bool:  # noqa: N802
        return bool(self._seed % 2)

    def _IntType(self, info: Any) -> int:  # noqa: N802
        return 3 + self._seed

    def _FloatType(self, info: Any) -> float:  # noqa: N802
        return 0.25 + self._seed / 8

    def _NoneType(self, info: Any) -> None:  # noqa: N802
        return None

    def _AnyType(self, info: Any) -> str:  # noqa: N802
        return f"any{self._seed}"

    def _EnumType(self, info: Any) -> Any:  # noqa: N802
        members = list(info.cls)
        return members[self._seed % len(members)]

    def _LiteralType(self, info: Any) -> Any:  # noqa: N802
        return info.values[self._seed % len(info.values)]

    def _VarTupleType(self, info: Any) -> tuple[Any, ...]:  # noqa: N802
        return (self.of(info.item_type),)

    def _TupleType(self, info: Any) -> tuple[Any, ...]:  # noqa: N802
        return tuple(self.of(item) for item in info.item_types)

    def _ListType(self, info: Any) -> list[Any]:  # noqa: N802
        return [self.of(info.item_type)]

    def _DictType(self, info: Any) -> dict[Any, Any]:  # noqa: N802
        return {f"key{self._seed}": self.of(info.value_type)}

    def _UnionType(self, info: Any) -> Any:  # noqa: N802
        some = [item for item in info.types if not isinstance(item, msgspec.inspect.NoneType)]
        return self.of(some[self._seed % len(some)] if len(some) > 1 else some[0])

    def _Metadata(self, info: Any) -> Any:  # noqa: N802
        return self.of(info.type)

    def _NamedTupleType(self, info: Any) -> Any:  # noqa: N802
        return info.cls(*(self.of(field.type) for field in info.fields))

    def _StructType(self, info: Any) -> Any:  # noqa: N802
        given = {}
        for field in info.fields:
            # What may hold itself ends here.
            is_own = any(getattr(item, "cls", None) is info.cls for item in getattr(field.type, "types", ()))
            given[field.name] = None if is_own else self.of(field.type)
        return info.cls(**given)


def _settings(kind: Kind[Any, Any], seed: int = 0) -> Any:
    return Values(seed).of(msgspec.inspect.type_info(kind.settings))


def _key(kind: Kind[Any, Any], settings: Any) -> str:
    return keys.key(kind.action(settings, title="a title"), kind)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_field_of_every_kind_changes_its_key_but_what_is_bound_where_it_is_done(kind: Kind[Any, Any]) -> None:
    settings = _settings(kind)
    key = _key(kind, settings)
    assert key == _key(kind, msgspec.json.decode(msgspec.json.encode(settings), type=kind.settings))
    bound = with_files(settings, lambda text: text, Bound("out", 1.5, 7))
    for name in kind.settings.__struct_fields__:
        found = getattr(settings, name)
        other = getattr(_settings(kind, 1), name)
        if getattr(bound, name) != found and not isinstance(found, msgspec.Struct):
            continue  # the folder to write into, and limits
        assert other != found, f"{name} has one value alone"
        assert _key(kind, msgspec.structs.replace(settings, **{name: other})) != key, name


def test_the_key_of_an_action_goes_by_what_its_files_are_and_not_by_where_they_lie() -> None:
    settings = msgspec.structs.replace(_settings(SCORE), artifact=str(REF))
    assert parse(str(REF)) == REF
    elsewhere = msgspec.structs.replace(settings, artifact=str(REF._replace(entry="other", inside="")))
    another = msgspec.structs.replace(settings, artifact=str(REF._replace(identity="ee" * 32)))
    assert _key(SCORE, settings) == _key(SCORE, elsewhere) != _key(SCORE, another)
    assert SCORE.action(settings).inputs() == (REF,)


def test_files_folders_and_limits_are_bound_in_nested_settings_as_well() -> None:
    score = msgspec.structs.replace(_settings(SCORE), artifact=str(REF), samples="as it is")
    made = ScoreAtJob(at=At(place=_settings(MEASURE).place), score=score)
    bound = with_files(made, lambda text: "/a/path" if parse(text) else text, Bound("/out", 60.0, 10**9))
    assert (bound.score.artifact, bound.score.samples, bound.score.out) == ("/a/path", "as it is", "/out")
    assert (bound.at.time_s, bound.at.memory_bytes) == (60.0, 10**9)


def test_code_and_versions_and_the_machine_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, settings = MEASURE, _settings(MEASURE)
    assert isinstance(settings, MeasureJob)
    key = _key(kind, settings)
    with monkeypatch.context() as patch:
        patch.setattr(code, "digest", lambda *_: "other code")
        assert _key(kind, settings) != key
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_versions", lambda _: {"ai-edge-litert": "0.1"})
        assert _key(kind, settings) != key
    with monkeypatch.context() as patch:
        patch.setattr(keys.host, "identity", lambda: "another machine")
        assert _key(kind, settings) != key
        conversion = KINDS["quantize"]
        assert _key(conversion, _settings(conversion)) == _key(conversion, _settings(conversion))
    assert _key(kind, settings) == key


def test_an_edited_runner_of_devices_invalidates_no_training_and_an_edited_pass_does() -> None:
    runner, loop = "edgebuild.runtimes.places.ssh", "edgebuild.passes.training.loop"
    for name, kind in KINDS.items():
        modules = code.closure(*keys.modules(kind))
        assert (runner in modules) == (name in ("measure", "score-at", "outputs-at")), name
        assert not any(module.startswith(("edgebuild.pipeline", "edgebuild.cli")) for module in modules), name
    assert loop in code.closure(*keys.modules(KINDS["channels"]))
    # Programs that are copied to devices are named by their files.
    assert "edgebuild.runtimes.places.runner" in code.closure(*keys.modules(KINDS["measure"]))


def test_the_code_of_a_kind_is_read_from_imports_of_every_form() -> None:
    text = (
        "from edgebuild.core.model import (\n    ModelSpec,  # a comment\n    TensorSpec as Spec,\n)\n"
        "    import edgebuild.errors\nWHERE = {1: 'edgebuild.host'}\nX = Path('runner.py')\n"
    )
    found = set(code._imported(text, "edgebuild.runtimes.places"))
    wanted = {"edgebuild.core.model", "edgebuild.core.model.ModelSpec", "edgebuild.errors", "edgebuild.host"}
    assert found >= wanted | {"edgebuild.runtimes.places.runner"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_each_kind_names_a_function_that_is_there(kind: Kind[Any, Any]) -> None:
    module, _, function = kind.run.partition(":")
    assert module in code.closure(module)
    assert f"\ndef {function}(" in (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()


# What is not of edgebuild is imported once; each module then in a fork that has nothing of edgebuild yet.
_LOADED = """
import importlib, json, os, sys
for foreign in ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"):
    importlib.import_module(foreign)
assert not any(name.startswith("edgebuild") for name in sys.modules)
for module in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(module)
            loaded = sorted(name for name in sys.modules if name.startswith("edgebuild"))
            print(json.dumps([module, loaded]), flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_the_module_of_a_kind_loads_no_code_that_its_key_does_not_know() -> None:
    modules = sorted({keys.modules(kind)[0] for kind in KINDS.values()})
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED, *modules], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    loaded = dict(json.loads(line) for line in ran.stdout.splitlines() if line.startswith("["))
    assert sorted(loaded) == modules, ran.stderr
    for name, kind in KINDS.items():
        known = code.closure(*keys.modules(kind))
        assert set(loaded[keys.modules(kind)[0]]) <= known, name
