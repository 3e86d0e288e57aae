"""The history as it is shown: what may stand in one column, and which changes are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from making import figure
from msgspec.structs import replace
from recorded_builds import CORE, HERE, A, B, C, append, build, counted, latency

from edgebuild import history
from edgebuild.cli.history import command
from edgebuild.core.manifest import Accuracy
from edgebuild.core.measurement import Mode
from edgebuild.core.record import Commit, Record
from edgebuild.errors import UsageError
from edgebuild.report.history import trend


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of this test's own."""
    path = tmp_path / "kept" / "history.sqlite"
    monkeypatch.setenv(history.VARIABLE, str(path))
    return path


def _lines(**options: Any) -> list[list[str]]:
    """The table as it is shown, split at gaps."""
    text = trend(history.read("kws"), **{"last": 20, **options})
    return [[cell for cell in line.strip().split("  ") if cell.strip()] for line in text.splitlines()]


def test_the_trend_has_a_row_for_each_commit_with_the_change_against_the_one_before() -> None:
    accuracy = [figure("accuracy", value, where="host", kernels="xnnpack") for value in (0.914, 0.916, 0.9)]
    append(A, 48_480, accuracy[0], counted(6_561_234), latency(2e-4))
    append(B._replace(dirty=True), 48_576, accuracy[1], counted(6_561_300), latency(2.02e-4))
    append(C, 47_000, accuracy[2], counted(6_630_000), latency(3e-4))
    lines = _lines()
    first, second, third = (record.time[:16].replace("T", " ") for record in history.read("kws"))
    assert lines[0] == ["kws, target mcu"]
    head = ["commit", "measured (UTC)", "size", "accuracy [1]", "instructions [2]", "latency [3]"]
    assert [cell.strip() for cell in lines[1]] == head
    assert [[cell.strip() for cell in line] for line in lines[2:5]] == [
        ["aaaaaaaa", first, "48.5 KB", "91.4 %", "6.561 M", "0.2 ms"],
        ["bbbbbbbb+", second, "48.6 KB", "+96 B", "91.6 %", "+0.2 points", "6.561 M", "+0.0 %", "0.202 ms", "~"],
        ["cccccccc", third, "47.0 KB", "-1,576 B", "90.0 %", "-1.6 points", "6.63 M", "+1.05 %", "0.3 ms", "+48.51 %"],
    ]
    assert [cell.strip() for cell in lines[5]] == ["██▁", "▇█▁", "▁▁█", "▁▁█"]
    told = [" ".join(line) for line in lines[6:]]
    assert told[0] == "[1] host: xnnpack kernels, evaluation data 23232323, measured"
    assert told[1] == f"[2] {CORE}: QEMU 7.2, xnnpack kernels, emulated"
    assert told[2] == f"[3] host: {HERE}, xnnpack kernels, measured"
    assert told[3].startswith("+ tracked files differed")
    assert told[4].startswith("~ no change that could be told")
    assert told[5] == "last line: from the lowest (▁) to the highest (█) of each column, not from zero"


@pytest.mark.parametrize(
    "other",
    [
        {"where": "ssh:pi"},
        {"machine": "aarch64, Another, 4 cores"},
        {"kernels": "builtin"},
        {"settings": {"threads": 4}},
        {"mode": Mode.ESTIMATED},
    ],
    ids=str,
)
def test_latencies_of_different_places_never_stand_in_one_column(other: dict[str, Any]) -> None:
    append(A, 1000, latency(1e-3))
    append(B, 1000, latency(2e-3, **other))
    head, first, second = _lines()[1:4]
    assert [cell.strip() for cell in head[3:]] == ["latency [1]", "latency [2]"]
    assert [cell.strip() for cell in first[3:]] == ["1 ms"]
    assert [cell.strip() for cell in second[3:]] == ["=", "2 ms"]


@pytest.mark.parametrize("changed", ["metric", "data"])
def test_scores_of_another_metric_or_other_data_never_stand_in_one_column(changed: str) -> None:
    score = figure("accuracy", 0.9, where="host", kernels="xnnpack")
    made = build(1000, score)
    assert isinstance(made.accuracy, Accuracy)
    assert made.inputs.data is not None
    other = (
        replace(made, accuracy=replace(made.accuracy, metric="auc"))
        if changed == "metric"
        else replace(made, inputs=replace(made.inputs, data=replace(made.inputs.data, evaluation_sha256="4" * 64)))
    )
    history.append(made, A)
    history.append(other, B)
    named = "auc" if changed == "metric" else "accuracy"
    assert [cell.strip() for cell in _lines()[1][3:]] == ["accuracy [1]", f"{named} [2]"]


def test_without_an_interval_no_change_of_a_latency_is_told() -> None:
    for commit, value in ((A, 1e-3), (B, 9e-3)):
        append(commit, 1000, latency(value, intervals={}))
    assert _lines()[3][-1].strip() == "~"


def test_what_was_measured_again_of_the_same_file_and_commit_is_one_row_with_the_latest_figure() -> None:
    append(A, 1000, latency(1e-3))
    history.append_figures("kws", "mcu", f"{1000:064x}", [latency(2e-3), counted(5e6)], A)
    lines = _lines()
    assert [cell.strip() for cell in lines[2][2:]] == ["1,000 B", "5 M", "2 ms"]
    assert len(history.read("kws")) == 2


def test_a_change_is_against_the_last_row_that_has_the_figure() -> None:
    append(A, 1000, counted(100_000))
    append(B, 1000)
    append(C, 1000, counted(110_000))
    assert _lines()[4][-1].strip() == "+10.0 %"


def test_the_last_rows_are_shown_with_their_change_against_those_that_are_not() -> None:
    for commit, size_bytes in ((A, 1000), (B, 1010), (C, 1030)):
        append(commit, size_bytes)
    assert [line[-1].strip() for line in _lines(last=1)[2:]] == ["+20 B"]


def test_one_place_may_be_shown_alone_beside_the_size() -> None:
    score = figure("accuracy", 0.9, where="host", kernels="xnnpack")
    append(A, 1000, score, latency(1e-3), counted(5e6))
    assert [cell.strip() for cell in _lines(on=CORE)[1][2:]] == ["size", "instructions [1]"]


def test_names_out_of_files_cannot_command_a_terminal() -> None:
    assert history.append_figures("kws", "\x1b[2J", "ab", [latency(1e-3, machine="\x1b]0;x\x07")], Commit()) == ""
    assert "\x1b" not in trend(history.read("kws"), last=5)


# The command.


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_the_command_shows_a_trend_and_prints_records() -> None:
    append(A, 1000, latency(1e-3), counted(5e6))
    append(B, 1001)
    shown = _run("kws", "--on", CORE, "--last", "1")
    assert shown.exception is None
    assert "bbbbbbbb" in shown.output
    assert "latency" not in shown.output
    printed = json.loads(_run("kws", "--json", "--last", "1").output)
    assert [record["commit"] for record in printed] == ["b" * 40]
    assert printed[0]["figures"][0]["value"] == 1001


def test_an_unknown_name_is_wrong_usage_with_a_suggestion() -> None:
    append(A, 1000)
    with pytest.raises(UsageError, match='nothing is recorded of "kwz"; did you mean "kws"') as caught:
        history.read("kwz")
    assert caught.value.exit_code == 2
    assert caught.value.why == "There are: kws."


def test_an_unknown_target_or_place_is_wrong_usage_and_those_there_are_are_told() -> None:
    append(A, 1000, latency(1e-3))
    for arguments, known in (
        (("kws", "-t", "mcv"), "There are: mcu."),
        (("kws", "--on", "adb"), "The places there are: host."),
        (("kws", "--on", "moon"), "'moon' is no place"),
    ):
        error = _run(*arguments).exception
        assert isinstance(error, UsageError)
        assert known in error.why


def test_before_the_first_build_that_is_said(file: Path) -> None:
    error = _run("kws").exception
    assert isinstance(error, UsageError)
    assert str(file) in error.why


def test_a_record_is_what_was_appended() -> None:
    append(A, 1000, latency(1e-3))
    (record,) = history.read("kws")
    assert isinstance(record, Record)
    assert record.figures[1].interval == pytest.approx((0.98e-3, 1.02e-3))
