from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given, strategies as st

from edgebuild.units import (
    UnitError,
    format_bytes,
    format_change,
    format_count,
    format_joules,
    format_seconds,
    format_share,
    is_binary,
    is_change,
    parse_bytes,
    parse_change,
    parse_count,
    parse_joules,
    parse_number,
    parse_seconds,
    parse_share,
    parse_some,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0 B", 0),
        ("512 B", 512),
        ("300 KB", 300_000),
        ("300KB", 300_000),
        ("1 kb", 1000),
        ("1 KiB", 1024),
        ("1.5 MB", 1_500_000),
        (".5 MB", 500_000),
        ("1 MiB", 1_048_576),
        ("2 GB", 2_000_000_000),
        ("2 GiB", 2_147_483_648),
        ("1e3 B", 1000),
        ("10_000 B", 10_000),
        ("10,000 B", 10_000),
        ("  7 B  ", 7),
    ],
)
def test_sizes_are_whole_bytes_with_decimal_and_binary_prefixes_apart(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes
    assert isinstance(parse_bytes(text), int)


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("5 ms", 0.005),
        ("200us", 2e-4),
        ("200 µs", 2e-4),
        ("3 ns", 3e-9),
        ("2 s", 2.0),
        ("10 min", 600.0),
        ("1 h", 3600),
    ],
)
def test_times_are_seconds(text: str, time_s: float) -> None:
    assert parse_seconds(text) == pytest.approx(time_s, rel=1e-12)


def test_a_percentage_is_a_fraction_of_one() -> None:
    assert parse_share("1 %") == pytest.approx(0.01)
    assert parse_share("91.5%") == pytest.approx(0.915)


@pytest.mark.parametrize(("value", "number"), [("1/255", 1 / 255), ("0.5", 0.5), (3, 3.0), ("-2", -2.0), (-1.5, -1.5)])
def test_numbers_may_be_fractions_and_negative(value: object, number: float) -> None:
    assert parse_number(value) == pytest.approx(number)


@pytest.mark.parametrize("text", ["1/0", "1/2/3", "", "one", "1/", None, True, [1]])
def test_what_is_no_number_is_refused(text: object) -> None:
    with pytest.raises(UnitError, match="is not a number"):
        parse_number(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "-inf"])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        parse_number(value)


@pytest.mark.parametrize("parse", [parse_bytes, parse_seconds, parse_share])
@pytest.mark.parametrize("value", ["5", 5, 0.5])
def test_a_quantity_without_its_unit_is_refused(parse: object, value: object) -> None:
    with pytest.raises(UnitError, match="has no unit: write"):
        parse(value)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("parse", "text", "unit"),
    [
        (parse_bytes, "5 ms", "ms"),
        (parse_bytes, "5 KBit", "KBit"),
        (parse_seconds, "5 KB", "KB"),
        (parse_seconds, "5 MS", "MS"),
        (parse_share, "5 s", "s"),
    ],
)
def test_an_unknown_unit_is_named(parse: object, text: str, unit: str) -> None:
    with pytest.raises(UnitError, match=f"'{unit}' is no unit of"):
        parse(text)  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "KB", "big", "1.2.3 KB", "5 K B", None, True, ["1 KB"]])
def test_garbage_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(UnitError, match="300 KB"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["-1 B", "-0.5 KB", "1e400 B"])
def test_sizes_below_zero_or_without_end_are_refused(text: str) -> None:
    with pytest.raises(UnitError, match="out of range"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["1,5 MB", "12,34 KB", "1,2,3 B"])
def test_a_comma_that_does_not_group_thousands_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (9_999, "9,999 B"),
        (10_000, "10.0 KB"),
        (48_480, "48.5 KB"),
        (300_000, "300 KB"),
        (12_582_912, "12.6 MB"),
        (25e9, "25.0 GB"),
    ],
)
def test_sizes_are_exact_when_small_and_rounded_when_large(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (7.17e-6, "7.17 us"),
        (0.000215, "0.215 ms"),
        (0.005, "5 ms"),
        (1.2, "1.2 s"),
        (60, "1 min 0 s"),
        (125, "2 min 5 s"),
    ],
)
def test_times_are_shown_in_the_unit_that_fits(time_s: float, text: str) -> None:
    assert format_seconds(time_s) == text


@pytest.mark.parametrize(("time_s", "wrong"), [(0.9996, "e+"), (119.7, "60 s")])
def test_a_time_that_rounds_up_takes_the_next_unit(time_s: float, wrong: str) -> None:
    assert wrong not in format_seconds(time_s)


@pytest.mark.parametrize(("share", "text"), [(0.914, "91.4 %"), (0.9145, "91.45 %"), (1, "100.0 %"), (0, "0.0 %")])
def test_shares_are_percentages_with_up_to_two_decimals(share: float, text: str) -> None:
    assert format_share(share) == text


def test_a_share_that_rounds_to_zero_has_no_sign() -> None:
    assert format_share(-1e-17) == "0.0 %"


@given(st.integers(0, 10**15))
def test_a_formatted_size_reads_back_within_its_figures(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == pytest.approx(size_bytes, rel=0.05)


@given(st.integers(0, 10**15), st.sampled_from([("B", 1), ("KB", 10**3), ("KiB", 2**10), ("MiB", 2**20)]))
def test_whole_sizes_read_back_exactly(count: int, unit: tuple[str, int]) -> None:
    name, factor = unit
    assert parse_bytes(f"{count % 10**6} {name}") == count % 10**6 * factor


@given(st.floats(1e-7, 59.9))
def test_a_formatted_time_reads_back_within_its_figures(time_s: float) -> None:
    assert parse_seconds(format_seconds(time_s)) == pytest.approx(time_s, rel=0.06)


@given(st.floats(0, 1))
def test_a_formatted_share_reads_back_within_its_decimals(share: float) -> None:
    assert parse_share(format_share(share)) == pytest.approx(share, abs=5.1e-5)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_as_a_unit_error(text: str) -> None:
    for parse in (parse_bytes, parse_seconds, parse_share, parse_number):
        with contextlib.suppress(UnitError):
            assert math.isfinite(parse(text))


@pytest.mark.parametrize("text", ["0 %", "101 %", "0.5", "-1 %"])
def test_a_part_that_is_kept_is_over_nothing_and_at_most_all(text: str) -> None:
    with pytest.raises(UnitError):
        parse_some(text)
    assert parse_some("0.1 %") == pytest.approx(0.001)
    assert parse_some("100 %") == 1


@pytest.mark.parametrize(
    ("text", "count"), [("6.6 M", 6_600_000), ("500k", 500_000), ("2 G", 2 * 10**9), ("6,600,000", 6_600_000), (7, 7)]
)
def test_counts_are_whole_numbers_with_decimal_prefixes(text: object, count: int) -> None:
    assert parse_count(text) == count
    assert isinstance(parse_count(text), int)


@pytest.mark.parametrize("text", ["0.5", "-1", "6.6 Mi", "6.6 m", True, "many"])
def test_what_is_no_count_is_refused(text: object) -> None:
    with pytest.raises(UnitError):
        parse_count(text)


def test_energies_are_joules() -> None:
    assert [parse_joules(text) for text in ("3 mJ", "150 uJ", "1 J")] == pytest.approx([0.003, 150e-6, 1.0])


@pytest.mark.parametrize(
    ("text", "change"), [("+5 %", 0.05), ("-10 % of baseline", -0.1), ("+ 0.5% of the baseline", 0.005), ("+0 %", 0)]
)
def test_a_change_has_a_sign(text: str, change: float) -> None:
    assert is_change(text)
    assert parse_change(text) == pytest.approx(change)


@pytest.mark.parametrize("text", ["5 % of baseline", "+5 ms of baseline", "-100 %", "+5", "+ % of baseline"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_change(text)


@pytest.mark.parametrize("value", ["5 %", "5 ms", 5, None])
def test_what_has_neither_sign_nor_baseline_is_not_meant_as_a_change(value: object) -> None:
    assert not is_change(value)


@pytest.mark.parametrize(
    ("count", "text"),
    [(9_999, "9,999"), (10_000, "10 k"), (999_990, "1 M"), (6_561_234, "6.561 M"), (1.5e9, "1.5 G"), (0, "0")],
)
def test_a_count_is_exact_while_it_is_small(count: float, text: str) -> None:
    assert format_count(count) == text


def test_changes_and_energies_are_shown_with_their_sign_and_unit() -> None:
    assert [format_change(share) for share in (0.05, -0.0025, 0.0)] == ["+5.0 %", "-0.25 %", "+0.0 %"]
    assert [format_joules(energy) for energy in (1.5, 0.0032, 150e-6)] == ["1.5 J", "3.2 mJ", "150 uJ"]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (60 * 1024, "60 KiB"),
        (48_480, "47.3 KiB"),
        (1000, "1,000 B"),
        (2**20, "1 MiB"),
        (1.5 * 2**20, "1.50 MiB"),
        (2**20 - 1, "1024 KiB"),
        (264 * 1024, "264 KiB"),
        (263.7 * 1024, "264 KiB"),
        (2**30, "1 GiB"),
    ],
)
def test_a_size_is_shown_in_the_binary_units_that_it_was_limited_in(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes, binary=True) == text


def test_binary_units_are_told_from_decimal_ones() -> None:
    assert [is_binary(text) for text in ("60 KiB", "60KIB", "1 mib", "60 KB", "60 B", 60)] == [True] * 3 + [False] * 3
