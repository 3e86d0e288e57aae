"""Passes and importers of plug-ins: what they are given, what they return, and what is seen to before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import tf_keras

from edgebuild import plugins
from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.actions.networks import Imported, ImportJob
from edgebuild.child import Say
from edgebuild.core.passes import PluginPass
from edgebuild.data.given import Array
from edgebuild.passes import lessons, pass_files
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.guard import Guard, unscored
from edgebuild.passes.pass_files import written
from edgebuild.passes.training.loop import Hooks
from edgebuild.passes.training.trainer import Trainer
from edgebuild.plugins import Group


class Changed(NamedTuple):
    """What a pass returns.

    Attributes:
        network: with the inputs and outputs of the one that it was given: a tf_keras model, or a graph.
        notes: what was done, and what was left alone and why.
    """

    network: Graph | tf_keras.Model
    notes: tuple[str, ...] = ()


class Work:
    """What a pass is given.

    Attributes:
        settings: of the plug-in's own type.
        graph: the network, as built-in passes change it.
        seed: of all that is drawn; those of Python, NumPy and TensorFlow are set already.
        has_samples: whether there are calibration samples.
        has_lesson: whether there are train data.
    """

    def __init__(self, job: CompressJob, settings: msgspec.Struct, graph: Graph, trainer: Trainer | None) -> None:
        self.settings: Any = settings
        self.graph = graph
        self.seed = job.seed
        self.has_samples = bool(job.calibration)
        self.has_lesson = trainer is not None
        self._job, self._trainer = job, trainer

    def model(self) -> tf_keras.Model:
        """The network as a tf_keras model, a new one each time."""
        return building.build(self.graph)

    def samples(self) -> Iterator[list[Array]]:
        """Batches of calibration samples, preprocessed: an array [batch, ...] for each input; none without them."""
        return pass_files.batches(self._job, self.graph) if self.has_samples else iter(())

    def train(self, model: tf_keras.Model, hooks: Hooks = Hooks()) -> None:  # noqa: B008
        """Train a model in place, as [train] and [distill] say, keeping its best epoch; nothing without train data."""
        if self._trainer is not None:
            self._trainer(model, hooks=hooks)


def run(job: CompressJob, say: Say) -> Compressed:
    """Do a pass of a plug-in, and revert it where the validation score fell by more than the lesson allows.

    Raises:
        UsageError: it cannot be imported, or a teacher does not fit.
        StepError: it failed, or returned what is no network with the same inputs and outputs.
    """
    assert isinstance(job.settings, PluginPass), "the engine sends each pass to its own module"
    step, graph = job.settings, files.load(Path(job.network))
    trainer = guard = None
    tf_keras.utils.set_random_seed(job.seed)
    if job.lesson is not None:
        original = files.load(Path(job.original))
        trainer = lessons.trainer(job.lesson, original, say)
        guard = Guard.of(original, job.lesson.max_drop, trainer)
    settings = msgspec.convert(step.settings, plugins.offer(step.plugin).settings)
    say(step.title)
    found = plugins.call(Group.PASSES, step.plugin, Work(job, settings, graph, trainer))
    changed = _graph(found, graph)
    if isinstance(changed, str):
        raise plugins.refused(Group.PASSES, step.plugin, changed)
    if trainer is None or guard is None:
        return written(changed, job, found.notes)
    model = building.build(changed)
    score = trainer.evidence.standing(model)
    if guard.holds(score):
        return written(changed, job, [*guard.said(), *found.notes, *unscored(changed, model, trainer), *trainer.notes])
    return written(graph, job, [*guard.said(), guard.refusal(step.called, score), *trainer.notes])


def _graph(found: object, graph: Graph) -> Graph | str:
    """What a pass returned as a graph, or why it is none, as the end of a sentence."""
    if not isinstance(found, Changed):
        return f"{type(found).__name__}, not an edgebuild.passes.plugged.Changed"
    if not isinstance(found.notes, tuple) or not all(isinstance(note, str) for note in found.notes):
        return "notes that are no tuple of sentences"
    if isinstance(found.network, tf_keras.Model):
        changed = building.read(found.network)
    elif isinstance(found.network, Graph):
        changed = found.network
    else:
        return f"a network of type {type(found.network).__name__}, not a tf_keras model or a graph"
    for what, before, after in zip(("inputs", "outputs"), _ends(graph), _ends(changed), strict=True):
        if before != after:
            return f"a network with the {what} {after}, and it was given one with {before}"
    return changed


def _ends(graph: Graph) -> tuple[list[str], list[str]]:
    """The inputs and outputs of a graph, for people."""
    inputs = [graph.tensors[item.tensor] for item in graph.inputs]
    outputs = [graph.tensors[number] for number in graph.outputs]
    return tuple([f"{list(item.shape[1:])} {item.dtype}" for item in ends] for ends in (inputs, outputs))  # type: ignore[return-value]


def import_(job: ImportJob, say: Say) -> Imported:
    """Import.

    Raises:
        StepError: the importer failed, or left no network that can be loaded.
    """
    out = Path(job.out)
    say(f"importing {Path(job.path).name}")
    found = plugins.call(Group.IMPORTERS, job.plugin, job.path, out)
    problem = misfit_of_import(found, out)
    if problem:
        raise plugins.refused(Group.IMPORTERS, job.plugin, problem)
    path = Path(found)
    return Imported(kind="folder" if path.is_dir() else "file", path=path.relative_to(out).as_posix())


def misfit_of_import(found: object, out: Path) -> str:
    """Why what an importer returned is no network in the folder, as the end of a sentence; empty where it is."""
    if not isinstance(found, str | Path):
        return f"{type(found).__name__}, not a path"
    path = Path(found)
    if not path.is_relative_to(out) or path == out:
        return f"the path {path}, which is not below the folder that it was given"
    if path.is_dir():
        return "" if (path / "saved_model.pb").is_file() else f"the folder {path.name}, which holds no saved_model.pb"
    if not path.is_file():
        return f"the path {path.name}, where there is nothing"
    return "" if path.suffix in (".keras", ".h5") else f"the file {path.name}, which is no .keras or .h5 file"
