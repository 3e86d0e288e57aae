from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from msgspec.structs import replace

from edgebuild import calibration
from edgebuild.actions.measuring import Timing
from edgebuild.calibration import Estimate, UnfitError, Workload, estimate, family_of, fit, left_out, together
from edgebuild.cli import calibrate as verb
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.calibration import Calibration, Family, Point
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.target import Kernels
from edgebuild.core.verdict import Status
from edgebuild.errors import StepError, UsageError
from edgebuild.execution import session as executing
from edgebuild.execution.fake import Fake
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.timed_parts import artifact_of_layer
from edgebuild.gating import gate
from edgebuild.pipeline import calibrations
from edgebuild.pipeline.calibrating import Twice, concluded, wanted
from edgebuild.report.calibration import of_calibration
from tests.unit import making
from tests.unit.board_figures import INSTRUCTIONS_A_BYTE, INTERCEPT_S, SLOPE_S, measured

COUNTS = (4e5, 9e5, 2e6, 3.1e6, 6e6, 9e6)
FAMILY = Family(types=("int8 x int8",), operators=("CONV_2D", "FULLY_CONNECTED", "SOFTMAX"))
CORE = place.parse("arm64:cortex-a72")
DEVICE = place.parse("ssh:pi@pi")
MACHINE = "aarch64, Raspberry Pi 4 Model B Rev 1.4, 4 cores"


def _points(counts: Any = COUNTS, spread: float = 0.0, seed: int = 0) -> list[Point]:
    noise = np.random.default_rng(seed).normal(1, spread, len(counts)).tolist() if spread else [1.0] * len(counts)
    times_s = [(INTERCEPT_S + SLOPE_S * count) * factor for count, factor in zip(counts, noise, strict=True)]
    return [_point(count, time_s) for count, time_s in zip(counts, times_s, strict=True)]


def _point(instructions: float, time_s: float) -> Point:
    return Point(
        name=f"net{instructions:.0f}.tflite",
        sha256="ab" * 32,
        instructions=instructions,
        time_s=time_s,
        interval_s=(time_s, time_s),
    )


def _calibration(**fields: Any) -> Calibration:
    spec: dict[str, Any] = {
        "name": "cortex-a72-int8",
        "core": "cortex-a72",
        "place": "ssh:pi@pi",
        "machine": MACHINE,
        "kernels": "xnnpack",
        "litert": "2.3.0",
        "device_litert": "2.3.0",
        "family": FAMILY,
        "points": tuple(_points(spread=0.03)),
    }
    return Calibration(**{**spec, **fields})


WORKLOAD = Workload(FAMILY, "cortex-a72", "xnnpack", "2.3.0")


def test_a_line_without_noise_is_found_again() -> None:
    line = fit(_points())
    assert line.intercept_s == pytest.approx(INTERCEPT_S)
    assert line.slope_s == pytest.approx(SLOPE_S)
    found = line.at(5e6)
    assert found.time_s == pytest.approx(INTERCEPT_S + SLOPE_S * 5e6)
    assert found.interval_s == pytest.approx((found.time_s, found.time_s), rel=1e-6)


@pytest.mark.parametrize("count", [4, 6, 10])
def test_the_prediction_interval_holds_the_time_of_another_network_nineteen_times_in_twenty(count: int) -> None:
    rng = np.random.default_rng(count)
    held = 0
    for seed in range(600):
        counts = rng.uniform(4e5, 9e6, count)
        counts[0], counts[-1] = 4e5, 9e6
        other = rng.uniform(4e5, 9e6)
        true_s = (INTERCEPT_S + SLOPE_S * other) * rng.normal(1, 0.08)
        low_s, high_s = fit(_points(counts, 0.08, seed)).at(other).interval_s
        held += low_s <= true_s <= high_s
    assert 0.925 < held / 600 < 0.975


def test_an_interval_is_wider_beyond_the_networks_than_between_them() -> None:
    line = fit(_points(spread=0.05))
    widths = [np.diff(line.at(count).interval_s)[0] / line.at(count).time_s for count in (2e6, 1.8e7, 2e5)]
    assert widths[0] < min(widths[1:])


def test_an_intercept_below_zero_is_left_out() -> None:
    line = fit([_point(count, 3e-10 * count - 5e-5) for count in COUNTS])
    assert line.intercept_s == 0
    assert line.slope_s > 0


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (_points(COUNTS[:3]), "there are 3 networks, and a line that can be checked needs at least 4"),
        (_points((1e6, 1.1e6, 1.2e6, 1.4e6)), r"less than 1\.5 times"),
        ([_point(count, 1e3 / count) for count in COUNTS], "time does not grow"),
    ],
)
def test_points_that_tell_no_line_are_refused(points: list[Point], reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        fit(points)


def test_each_network_is_foreseen_from_the_others() -> None:
    assert left_out(_points()) == pytest.approx([0.0] * len(COUNTS), abs=1e-9)
    points = _points()
    points[2] = replace(points[2], time_s=points[2].time_s * 4)
    assert left_out(points)[2] == pytest.approx(-0.75, abs=0.01)
    with pytest.raises(UnfitError, match=r"net2000000\.tflite would be foreseen 75% too fast: they are no family"):
        calibration.require_family(points)


def test_an_estimate_is_a_time_with_its_interval() -> None:
    found = estimate(_calibration(), WORKLOAD, 3e6)
    assert isinstance(found, Estimate)
    assert found.time_s == pytest.approx(INTERCEPT_S + SLOPE_S * 3e6, rel=0.05)
    assert 0 < found.interval_s[0] < found.time_s < found.interval_s[1]


@pytest.mark.parametrize(
    ("workload", "instructions", "reason"),
    [
        (WORKLOAD._replace(core="cortex-a53"), 3e6, "it was calibrated for cortex-a72"),
        (WORKLOAD._replace(kernels="builtin"), 3e6, "it was calibrated for xnnpack kernels"),
        (WORKLOAD._replace(litert="2.4.0"), 3e6, "it was calibrated with LiteRT 2.3.0, not 2.4.0"),
        (
            WORKLOAD._replace(family=replace(FAMILY, types=("float32 x float32",))),
            3e6,
            "it was calibrated for int8 x int8, not float32 x float32",
        ),
        (
            WORKLOAD._replace(family=replace(FAMILY, operators=("ADD", "CONV_2D"))),
            3e6,
            "it was calibrated without ADD",
        ),
        (WORKLOAD, 1.9e7, "it was calibrated from 4e+05 to 9e+06 instructions, and 1.9e+07 is too far from that"),
        (WORKLOAD, 1.9e5, "it was calibrated from 4e+05 to 9e+06 instructions, and 1.9e+05 is too far from that"),
    ],
)
def test_where_a_calibration_does_not_hold_it_is_said_why(workload: Workload, instructions: float, reason: str) -> None:
    assert estimate(_calibration(), workload, instructions) == reason


def test_a_network_of_fewer_operators_belongs_to_the_family() -> None:
    assert isinstance(estimate(_calibration(), WORKLOAD._replace(family=replace(FAMILY, operators=())), 3e6), Estimate)


def test_a_family_is_what_multiplies_and_what_there_is(assets: Path) -> None:
    family = family_of(inspect((assets / "kws" / "reference_int8.tflite").read_bytes(), "kws"))
    assert family.types == ("int8 x int8",)
    assert family.operators == (
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "RESHAPE",
        "SOFTMAX",
    )
    dynamic = family_of(inspect((assets / "kws" / "reference_float32.tflite").read_bytes(), "kws"))
    assert dynamic.types != family.types
    with pytest.raises(UnfitError, match="do not compute in the same types"):
        together([family, dynamic])


def _networks(folder: Path, *channels: int) -> list[Path]:
    paths = [folder / f"net{count}.tflite" for count in channels]
    for path, count in zip(paths, channels, strict=True):
        layer = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=count, out_channels=count)
        path.write_bytes(artifact_of_layer(layer))
    return paths


def _timing(subject: Subject, value: float, **fields: Any) -> Timing:
    spec: dict[str, Any] = {
        "subject": subject,
        "machine": MACHINE,
        "kernels": "xnnpack",
        "versions": {"ai-edge-litert": "2.3.0", "python": "3.11.2"},
        "blocks": ((value,),),
        "processes": (1,),
        "statistics": {"median": value},
        "intervals": {"median": (0.9 * value, 1.1 * value)},
    }
    return Timing(**{**spec, **fields})


def _measured(folder: Path, **device: Any) -> list[Twice]:
    return [
        Twice(
            path,
            _timing(Subject.INSTRUCTIONS, count, machine="emulated"),
            _timing(Subject.LATENCY, INTERCEPT_S + SLOPE_S * count, **device),
        )
        for path, count in zip(_networks(folder, 80, 16, 32, 48), (8e6, 1e6, 2e6, 4e6), strict=True)
    ]


def test_measurements_become_a_calibration(tmp_path: Path) -> None:
    made = concluded(_measured(tmp_path), DEVICE, CORE)
    assert (made.name, made.core, made.place) == ("cortex-a72-int8", "cortex-a72", "ssh:pi@pi")
    assert (made.kernels, made.litert, made.device_litert) == ("xnnpack", "2.3.0", "2.3.0")
    assert [point.instructions for point in made.points] == [1e6, 2e6, 4e6, 8e6]
    assert [point.name for point in made.points] == ["net16.tflite", "net32.tflite", "net48.tflite", "net80.tflite"]
    assert made.family == Family(types=("int8 x int8",), operators=("FULLY_CONNECTED",))
    assert fit(made.points).slope_s == pytest.approx(SLOPE_S)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ({"machine": "x86_64, Some Processor, 2 cores"}, "ssh:pi@pi is no arm64 machine, but x86_64"),
        ({"kernels": "builtin"}, "ran on xnnpack kernels in emulation, and on builtin on the device"),
        ({"versions": {"ai-edge-litert": "2.2.0"}}, r"LiteRT 2\.3\.0 is emulated, and the device has 2\.2\.0"),
    ],
)
def test_figures_of_which_one_says_nothing_of_the_other_make_no_calibration(
    device: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(StepError, match=reason):
        concluded(_measured(tmp_path, **device), DEVICE, CORE)


def test_networks_of_which_one_does_not_fit_make_no_calibration(tmp_path: Path) -> None:
    measured = _measured(tmp_path)
    measured[0] = measured[0]._replace(timed=_timing(Subject.LATENCY, 1.0))
    with pytest.raises(StepError, match="these networks make no calibration"):
        concluded(measured, DEVICE, CORE)


@pytest.mark.parametrize(
    ("device", "core", "name", "reason"),
    [
        ("tflm", "cortex-a72", "", "tflm is no device"),
        ("arm64:cortex-a53", "cortex-a72", "", "arm64:cortex-a53 is no device"),
        ("ssh:pi", "host", "", "arm64 needs one of these cores"),
        ("ssh:pi", "tflm:", "", "tflm is no emulated core"),
        ("nowhere", "cortex-a72", "", "is no place"),
        ("ssh:pi", "cortex-a72", "../x", "is no name for a calibration"),
    ],
)
def test_what_cannot_be_calibrated_is_a_wrong_usage(
    device: str, core: str, name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        wanted(_networks(tmp_path, 8, 16, 24, 32), device, core, name)
    assert reason in str(error.value)


def test_a_calibration_needs_four_artifacts_that_differ(tmp_path: Path) -> None:
    paths = _networks(tmp_path, 8, 16, 24)
    twin = tmp_path / "twin.tflite"
    twin.write_bytes(paths[0].read_bytes())
    with pytest.raises(UsageError, match="at least 4 artifacts that all differ"):
        wanted(paths, "ssh:pi", "cortex-a72", "")
    with pytest.raises(UsageError, match="4 were named, 3 of them differ"):
        wanted([*paths, twin], "ssh:pi", "cortex-a72", "")
    found = wanted([*paths, *_networks(tmp_path, 40)], "ssh:pi", "cortex-a72", "pi")
    assert [item.path.name for item in found.artifacts] == [f"net{count}.tflite" for count in (8, 16, 24, 40)]
    assert (found.device.label, found.core.label) == ("ssh:pi", "arm64:cortex-a72")
    assert {item.kernels for item in found.artifacts} == {Kernels.XNNPACK}


@pytest.mark.skipif(platform.machine().lower() in ("aarch64", "arm64"), reason="this is an arm64 machine")
def test_this_machine_is_no_device_where_it_is_no_arm64(tmp_path: Path) -> None:
    arguments = [*map(str, _networks(tmp_path, 8, 16, 24, 32)), "--on", "host", "--core", "cortex-a72"]
    with pytest.raises(StepError, match="host is no arm64 machine"):
        verb.command.main(arguments, standalone_mode=False)


def test_the_verb_needs_a_device_and_a_core(tmp_path: Path) -> None:
    with pytest.raises(click.MissingParameter):
        verb.command.main([str(tmp_path), "--core", "cortex-a72"], standalone_mode=False)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "calibrations"
    monkeypatch.setenv(calibrations.VARIABLE, str(folder))
    return folder


def test_calibrations_are_kept_by_name(kept: Path) -> None:
    assert calibrations.read() == ([], [])
    first, second = _calibration(), _calibration(name="other", litert="2.4.0")
    assert calibrations.write(second) == kept / "other.json"
    calibrations.write(replace(first, machine="an earlier one"))
    calibrations.write(first)
    assert calibrations.read() == ([first, second], [])
    assert sorted(path.name for path in kept.iterdir()) == ["cortex-a72-int8.json", "other.json"]


def test_a_damaged_calibration_leaves_the_others_alone(kept: Path) -> None:
    calibrations.write(_calibration())
    (kept / "broken.json").write_text("{")
    found, damaged = calibrations.read()
    assert found == [_calibration()]
    assert len(damaged) == 1
    assert "broken.json cannot be read" in damaged[0]


def test_the_verb_counts_and_times_each_artifact_and_keeps_what_it_found(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executing, "Inline", lambda _: Fake({"measure": measured}))
    monkeypatch.setenv("EDGEBUILD_STORE", str(tmp_path / "store"))
    paths = _networks(tmp_path, 64, 256, 16, 128)
    arguments = [*map(str, paths), "--on", "ssh:pi@pi", "--core", "cortex-a72", "--set", "bench.threads=4"]
    verb.command.main([*arguments, "--name", "pi", "--quiet"], standalone_mode=False)
    (made,), _ = calibrations.read()
    assert made.name == "pi"
    counts = [float(INSTRUCTIONS_A_BYTE * path.stat().st_size) for path in paths]
    assert [point.instructions for point in made.points] == sorted(counts)
    assert fit(made.points).slope_s == pytest.approx(SLOPE_S)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "pi: arm64:cortex-a72 on ssh:pi@pi (aarch64, a board, 4 cores)\n  time      20 us + 300 ps"
    )
    found = calibrations.estimates(_network(tmp_path), [_counted(counts[0])])
    assert found.measurements[0].value == pytest.approx(INTERCEPT_S + SLOPE_S * counts[0])


def _counted(value: float = 3e6, where: str = "arm64:cortex-a72") -> Measurement:
    return making.figure(
        "instructions",
        value,
        mode=Mode.EMULATED,
        where=where,
        kernels="xnnpack",
        versions={"ai-edge-litert": "2.3.0", "qemu": "7.2"},
    )


def _network(tmp_path: Path) -> Path:
    (path,) = _networks(tmp_path, 64)
    return path


def test_counted_instructions_become_an_estimated_latency(kept: Path, tmp_path: Path) -> None:
    assert calibrations.estimates(_network(tmp_path), [_counted()]) == calibrations.Estimates()
    calibrations.write(_calibration())
    wide = tuple(replace(point, time_s=point.time_s * (1 + 0.4 * (-1) ** n)) for n, point in enumerate(_points()))
    calibrations.write(_calibration(name="wide", points=wide))
    found = calibrations.estimates(_network(tmp_path), [making.figure("size", 99), _counted()])
    (figure,) = found.measurements
    assert (figure.subject, figure.mode, figure.where) == (Subject.LATENCY, Mode.ESTIMATED, "arm64:cortex-a72")
    assert figure.value == pytest.approx(INTERCEPT_S + SLOPE_S * 3e6, rel=0.05)
    low, high = figure.intervals["median"]
    assert low < figure.value < high < 1.5 * low
    assert figure.machine == f"calibrated on ssh:pi@pi ({MACHINE}) with 6 networks"


def test_why_there_is_no_estimate_is_said_for_the_core_that_was_counted(kept: Path, tmp_path: Path) -> None:
    calibrations.write(_calibration())
    found = calibrations.estimates(_network(tmp_path), [_counted(9e7), _counted(where="arm64:cortex-a53")])
    assert found.measurements == ()
    (note,) = found.notes
    assert note.startswith("no time is estimated for arm64:cortex-a72 from cortex-a72-int8: it was calibrated from")


def test_no_budget_for_a_device_is_kept_by_an_estimate(kept: Path, tmp_path: Path) -> None:
    calibrations.write(_calibration())
    found = calibrations.estimates(_network(tmp_path), [_counted()])
    budget = making.budget("latency", 1.0, on="ssh:pi@pi")
    verdict = gate.judge((budget,), found.measurements, lower_is_better=False)
    assert verdict.status == Status.INCONCLUSIVE


def test_a_calibration_is_told_with_what_it_holds_for() -> None:
    made = _calibration(points=tuple(_points(COUNTS[:4])), device_litert="")
    assert of_calibration(made, 20e-6, 0.3e-9, 0.031, (0.1, -0.2, 0.0, 0.004)).splitlines() == [
        f"cortex-a72-int8: arm64:cortex-a72 on ssh:pi@pi ({MACHINE})",
        "  time      20 us + 300 ps an instruction, relative residuals of 3.1 %",
        "  holds for int8 x int8; xnnpack kernels of LiteRT 2.3.0, 1 thread",
        "            CONV_2D, FULLY_CONNECTED, SOFTMAX",
        "  note      which version of LiteRT the device runs is not known",
        "",
        "  network            instructions     time     from       to  from the others",
        "  net400000.tflite        400,000  0.14 ms  0.14 ms  0.14 ms          +10.0 %",
        "  net900000.tflite        900,000  0.29 ms  0.29 ms  0.29 ms          -20.0 %",
        "  net2000000.tflite     2,000,000  0.62 ms  0.62 ms  0.62 ms           +0.0 %",
        "  net3100000.tflite     3,100,000  0.95 ms  0.95 ms  0.95 ms           +0.4 %",
    ]
