"""Devices of plug-ins: whatever their code raises is an error of the measurement that names the plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgebuild import plugins
from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.plugin import Plugin
from edgebuild.plugins import Group
from edgebuild.process import Limits
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, Place, Worker


def open_place(named: place.Place, plugin: Plugin, limits: Limits, folder: Path, say: Say) -> PluginPlace:
    """The device of a plug-in.

    Raises:
        UnavailableError: a tool that every use of it needs is missing.
        StepError: it failed, or samples of another kind than seconds are what it has.
    """
    opened: Place = plugins.call(Group.DEVICES, plugin, named, limits, folder, say)
    return PluginPlace(opened, plugin, named)


class PluginPlace:
    """A device of a plug-in; see the Protocol."""

    def __init__(self, opened: Place, plugin: Plugin, named: place.Place) -> None:
        self._opened, self._plugin, self._named = opened, plugin, named
        for name in ("start", "close"):
            _require(plugin, callable(getattr(opened, name, None)), f"{_kind(opened)}, which has no method {name}")

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        return self._named.label

    @property
    def subject(self) -> Subject:
        """Seconds."""
        return Subject.LATENCY

    def start(self, artifact: Path, how: How) -> PluginWorker:
        """Load an artifact; see the Protocol."""
        return PluginWorker(
            plugins.guarded(Group.DEVICES, self._plugin, self._opened.start, artifact, how), self._plugin
        )

    def close(self) -> None:
        """End what the device keeps open."""
        plugins.guarded(Group.DEVICES, self._plugin, self._opened.close)


class PluginWorker:
    """What has loaded an artifact on a device of a plug-in; see the Protocol."""

    def __init__(self, worker: Worker, plugin: Plugin) -> None:
        self._worker, self._plugin = worker, plugin
        for name in ("block", "outputs", "close"):
            _require(plugin, callable(getattr(worker, name, None)), f"{_kind(worker)}, which has no method {name}")
        self.loaded: Loaded = self._expected(getattr(worker, "loaded", None), Loaded, "loaded")

    def block(self, *, time_s: float, most: int) -> Block:
        """Run inferences for `time_s` seconds, at least one and at most `most`."""
        found = plugins.guarded(Group.DEVICES, self._plugin, self._worker.block, time_s=time_s, most=most)
        block: Block = self._expected(found, Block, "block")
        is_right = 1 <= len(block.samples) <= most and all(sample > 0 for sample in block.samples)
        _require(self._plugin, is_right, f"a block of {len(block.samples)} samples where 1 to {most} were asked for")
        return block

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples; see the Protocol."""
        found = plugins.guarded(Group.DEVICES, self._plugin, self._worker.outputs, samples)
        is_right = isinstance(found, list) and len(found) == len(samples) and all(isinstance(s, list) for s in found)
        _require(self._plugin, is_right, f"outputs that are no list of {len(samples)} samples, each a list of bytes")
        return [list(sample) for sample in found]

    def close(self) -> Closing:
        """End the process."""
        found = plugins.guarded(Group.DEVICES, self._plugin, self._worker.close)
        closing: Closing = self._expected(found, Closing, "close")
        return closing

    def _expected(self, found: Any, kind: type, name: str) -> Any:
        _require(self._plugin, isinstance(found, kind), f"{_kind(found)} of `{name}`, not a {kind.__name__}")
        return found


def _kind(found: object) -> str:
    return type(found).__name__


def _require(plugin: Plugin, holds: bool, problem: str) -> None:
    if not holds:
        raise plugins.refused(Group.DEVICES, plugin, problem)
