from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest

from edgebuild.decode import closest, decode
from edgebuild.errors import UsageError
from edgebuild.layering import Layer, overlay
from edgebuild.units import parse_bytes, parse_number


class _Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class _Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    memory: Annotated[int, parse_bytes]
    names: tuple[str, ...] = ()


class _Outer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: int
    colour: _Colour = _Colour.RED
    scale: Annotated[float, parse_number] | tuple[float, ...] = 1.0
    limit: Annotated[int, parse_bytes] | None = None
    inner: _Inner | None = None


def _read(values: dict[str, Any], origin: str = "my.toml") -> _Outer:
    return decode(_Outer, overlay([Layer(origin, values)]), "my.toml")


def _mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(UsageError) as caught:
        _read(values)
    return caught.value.why.splitlines()


def test_values_are_read_by_the_parsers_of_their_fields() -> None:
    read = _read({"count": 2, "colour": "green", "scale": "1/4", "limit": "2 KB", "inner": {"memory": "1 KiB"}})
    assert read == _Outer(count=2, colour=_Colour.GREEN, scale=0.25, limit=2000, inner=_Inner(memory=1024))


def test_absent_fields_take_their_defaults() -> None:
    assert _read({"count": 2}) == _Outer(count=2)


def test_a_list_is_read_where_a_number_or_a_list_is_allowed() -> None:
    assert _read({"count": 1, "scale": [0.5, 2]}).scale == (0.5, 2.0)


def test_all_mistakes_are_told_at_once() -> None:
    mistakes = _mistakes({"colr": "red", "colour": "blue", "limit": "2", "inner": {"memory": "1 KB", "name": []}})
    assert [line.split()[0].rstrip(":") for line in mistakes] == ["colr", "count", "colour", "limit", "inner.name"]


def test_the_message_counts_the_mistakes_and_names_the_thing() -> None:
    for values, what in (({}, "my.toml: 1 mistake"), ({"colour": 1}, "my.toml: 2 mistakes")):
        with pytest.raises(UsageError) as caught:
            _read(values)
        assert caught.value.what == what


def test_an_unknown_key_is_told_with_the_closest_known_one() -> None:
    (mistake,) = _mistakes({"count": 1, "colur": "red"})
    assert mistake == 'colur is not a known key; did you mean "colour"? (my.toml)'


def test_an_unknown_key_that_is_close_to_none_has_no_suggestion() -> None:
    (mistake,) = _mistakes({"count": 1, "zzzz": 1})
    assert mistake == "zzzz is not a known key (my.toml)"


def test_a_missing_key_is_told() -> None:
    (mistake,) = _mistakes({})
    assert mistake == "count is missing"


def test_a_value_of_the_wrong_type_is_told_with_both_types() -> None:
    (mistake,) = _mistakes({"count": "two"})
    assert mistake == "count: Expected `int`, got `str` (my.toml)"


def test_a_true_is_no_number() -> None:
    assert len(_mistakes({"count": True, "scale": True, "limit": False})) == 3


def test_a_wrong_choice_is_told_with_all_choices() -> None:
    (mistake,) = _mistakes({"count": 1, "colour": "blue"})
    assert "one of red, green" in mistake


def test_a_missing_unit_is_told_with_an_example() -> None:
    (mistake,) = _mistakes({"count": 1, "limit": 5})
    assert mistake.startswith("limit: 5 has no unit: write a size like 300 KB")


def test_a_nested_mistake_is_told_with_its_path_and_its_own_origin() -> None:
    layered = overlay(
        [Layer("low.toml", {"count": 1, "inner": {"memory": "1 KB"}}), Layer("options", {"inner": {"memory": "1"}})]
    )
    with pytest.raises(UsageError) as caught:
        decode(_Outer, layered, "it")
    assert caught.value.why.startswith("inner.memory: ")
    assert caught.value.why.endswith("(options)")


def test_a_value_where_a_table_belongs_is_a_mistake() -> None:
    (mistake,) = _mistakes({"count": 1, "inner": 3})
    assert mistake.startswith("inner: ")


def test_a_table_where_a_value_belongs_is_a_mistake() -> None:
    (mistake,) = _mistakes({"count": {"of": 3}})
    assert mistake.startswith("count: Expected `int`")


@pytest.mark.parametrize(("word", "text"), [("mcv", '; did you mean "mcu"?'), ("qqqq", "")])
def test_a_suggestion_is_made_only_where_something_is_close(word: str, text: str) -> None:
    assert closest(word, ["mcu", "arm64"]) == text
