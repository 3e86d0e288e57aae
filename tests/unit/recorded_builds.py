"""Makers of builds for tests of the history."""

from __future__ import annotations

from typing import Any

from making import figure, manifest

from edgebuild import history
from edgebuild.core.manifest import Artifact, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.record import Commit

A, B, C = (Commit(letter * 40, dirty=False) for letter in "abc")
HERE = "x86_64, Some Processor, 2 cores"
CORE = "arm64:cortex-a72"


def latency(value: float, spread: float = 0.02, **fields: Any) -> Measurement:
    interval = (value * (1 - spread), value * (1 + spread))
    spec = {"where": "host", "machine": HERE, "kernels": "xnnpack", "intervals": {"median": interval}}
    return figure("latency", value, **{**spec, **fields})


def counted(value: float, where: str = CORE) -> Measurement:
    return figure("instructions", value, where=where, machine="QEMU 7.2", kernels="xnnpack", mode=Mode.EMULATED)


def build(size_bytes: int, *more: Measurement, **fields: Any) -> Manifest:
    sha256 = f"{size_bytes:064x}"
    artifact = Artifact(path="kws.tflite", sha256=sha256, size_bytes=size_bytes, size_gzip_bytes=size_bytes // 2)
    return manifest(**{"artifact": artifact, "measurements": (figure("size", size_bytes), *more), **fields})


def append(commit: Commit, size_bytes: int, *more: Measurement, **fields: Any) -> None:
    assert history.append(build(size_bytes, *more, **fields), commit) == ""
