"""A conformance kit: what authors of plug-ins call in their own tests.

Each check takes the name of an installed plug-in, or of a built-in one, does with it what a build does, and raises
`ConformanceError` with a sentence that names what is missing or wrong.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from edgebuild import config, metrics, plugins, targets
from edgebuild.actions import compression, datasets, networks
from edgebuild.actions.compression import CompressJob, LessonJob
from edgebuild.actions.datasets import SplitJob
from edgebuild.actions.networks import CarryJob, FreezeJob, Frozen, Imported, ImportJob
from edgebuild.actions.runtimes import COMPILE, CompileJob
from edgebuild.core.action import Ref
from edgebuild.core.device import Compiled
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.manifest import Manifest
from edgebuild.core.metric import Metric, Task
from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.passes import Pass, PluginPass
from edgebuild.core.plan import Split
from edgebuild.core.progress import Silence
from edgebuild.core.settings import Settings
from edgebuild.core.target import AcceleratorTable, Kernels
from edgebuild.errors import EdgebuildError, UnavailableError
from edgebuild.execution.session import Done, Session, session as opened
from edgebuild.execution.store import Store
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.layering import Layer
from edgebuild.pipeline import check, sources
from edgebuild.process import ChildBugError, Limits
from edgebuild.report import formats
from edgebuild.runtimes.places.protocol import How, Loaded, Worker
from edgebuild.runtimes.places.table import open_place

T = TypeVar("T")

NETWORK = "edgebuild.passes.trying:network"
_SAMPLES, _CLASSES = 64, 4
_ARTIFACT = LayerShape(kind=LayerKind.CONV_2D, height=8, width=8, in_channels=4, out_channels=8)


class ConformanceError(AssertionError):
    """A plug-in is not what builds take it for."""


def check_metric(name: str, outputs: Any = None, y: Any = None) -> float:
    """Score outputs by a metric as builds do, twice.

    Args:
        name: of the metric.
        outputs: [samples, ...]; None for probabilities of classes.
        y: labels that fit them perfectly, [samples, ...]; None for the classes that are most likely.

    Returns:
        The score.

    Raises:
        ConformanceError: it cannot be found or fails, its score is no finite number, another one the second time, none
            of a share, or better where labels fit worse; or it changes the arrays.
    """
    asked = _settings().metric
    metric = _done(lambda: plugins.metric(msgspec.structs.replace(asked, name=name)), f"the metric {name}")
    if outputs is None or y is None:
        outputs = np.full((_SAMPLES, _CLASSES), 0.1)
        y = np.arange(_SAMPLES) % _CLASSES
        outputs[np.arange(_SAMPLES), y] = 0.7
    metric = metric if metric.plugin is not None else _settled(metric)
    given = (outputs.copy(), y.copy())
    best = _done(lambda: metrics.score(outputs, y, metric), f"the metric {name}")
    _require(np.array_equal(outputs, given[0]) and np.array_equal(y, given[1]), f"the metric {name} changes its arrays")
    again = _done(lambda: metrics.score(outputs, y, metric), f"the metric {name}")
    _require(best == again, f"the metric {name} is {best} and then {again} for the same arrays")
    _require(not metric.is_share or 0 <= best <= 1, f"the metric {name} is {best}, and `is_share` says a share of one")
    worse = _done(lambda: metrics.score(outputs, np.roll(y, 1, axis=0), metric), f"the metric {name}")
    is_worse = worse >= best if metric.less_is_more else worse <= best
    _require(is_worse, f"the metric {name} is {best} for labels that fit and {worse} for others: see `lower_is_better`")
    return best


def check_report(name: str, manifest: Manifest | Path) -> dict[str, bytes]:
    """Write a report of a manifest that a build left, twice.

    Args:
        name: of the format.
        manifest: one, or the path of one.

    Returns:
        The files, by path.

    Raises:
        ConformanceError: it cannot be found or fails, writes nothing, no file, or other bytes the second time.
    """
    read = _done(lambda: check.read(manifest), "the manifest") if isinstance(manifest, Path) else manifest
    first, second = (_done(lambda: formats.files(read, [name]), f"the report format {name}") for _ in range(2))
    _require(first == second, f"the report format {name} writes other bytes each time")
    return first


def check_compiler(name: str, artifact: Path | None = None, **options: Any) -> Compiled:
    """Compile an artifact, twice.

    Args:
        name: of the compiler.
        artifact: an int8 .tflite file; None for one with a convolution.
        options: further keys of `[accelerator]`: configuration="...".

    Returns:
        What it made.

    Raises:
        ConformanceError: it cannot be found or fails, returns what builds cannot use, or other bytes the second time.
    """
    table = AcceleratorTable(compiler=name, **options)
    accelerator = _done(lambda: targets.accelerator(table), f"the compiler {name}")
    _require(accelerator.plugin is not None, f"the compiler {name} is built in: edgebuild's own tests check it")
    with _session() as (session, folder):
        file = artifact or folder / "conv.tflite"
        if artifact is None:
            file.write_bytes(timed_parts.artifact_of_layer(_ARTIFACT))
        action = COMPILE.action(CompileJob(artifact=str(session.give_file(file)), accelerator=accelerator))
        made: Done[Compiled] = _twice(session, action, f"the compiler {name}")
        return made.result


def check_device(name: str, artifact: Path | None = None) -> Loaded:
    """Run an artifact on a device: time it, and feed it a sample twice.

    Args:
        name: as for --on: "NAME" or "NAME:ADDRESS".
        artifact: an int8 .tflite file; None for one with a convolution.

    Returns:
        What the device tells of itself.

    Raises:
        ConformanceError: it cannot be found or fails, returns what builds cannot use, gives outputs of another size or
            others for the same sample, or cannot be closed twice.
    """
    what = f"the device {name}"
    named = _done(lambda: plugins.place(name), what)
    settings = _settings()
    limits = Limits(time_s=settings.limits.run_time, memory_bytes=settings.limits.run_memory)
    with tempfile.TemporaryDirectory(prefix="edgebuild-testing-") as folder:
        file = artifact or Path(folder) / "conv.tflite"
        if artifact is None:
            file.write_bytes(timed_parts.artifact_of_layer(_ARTIFACT))
        place = _done(lambda: open_place(named, limits, Path(folder), lambda _: None), what)
        try:
            worker = _done(lambda: place.start(file, How(Kernels.REFERENCE)), what)
            _require(bool(worker.loaded.machine), f"{what} does not say what machine it is")
            _done(lambda: worker.block(time_s=0.05, most=5), what)
            _require_outputs(worker, reader.read(file), what)
            first, second = _done(worker.close, what), _done(worker.close, what)
            _require(first == second, f"{what} tells something else when it is closed for the second time")
            return worker.loaded
        finally:
            _done(place.close, what)


def _require_outputs(worker: Worker, spec: ArtifactSpec, what: str) -> None:
    sample = [bytes(math.prod(end.shape) * np.dtype(end.dtype).itemsize) for end in spec.inputs]
    wanted = [math.prod(end.shape) * np.dtype(end.dtype).itemsize for end in spec.outputs]
    try:
        first, second = _done(lambda: worker.outputs([sample, sample]), what)
    except UnavailableError:
        return  # it times alone
    sizes = [len(item) for item in first]
    _require(sizes == wanted, f"{what} gives outputs of {sizes} bytes, and the file has outputs of {wanted}")
    _require(first == second, f"{what} gives other outputs for the same sample: each begins without memory")


def check_importer(name: str, path: str) -> ModelSpec:
    """Import a network, twice, and load it.

    Args:
        name: of the importer.
        path: what a user would write for a model.

    Returns:
        The network as it was loaded, its shapes fixed.

    Raises:
        ConformanceError: it cannot be found or fails, does not take the path, or leaves no network that can be loaded,
            or another one the second time.
    """
    what = f"the importer {name}"
    plugin = _done(lambda: plugins.require(plugins.Group.IMPORTERS, name), what).plugin
    source = _done(lambda: sources.model(path), what)
    _require(source.plugin == plugin, f"{what} does not take {path}")
    with _session() as (session, _):
        given = str(session.give(source)) if source.sha256 else path
        action = networks.IMPORT.action(ImportJob(path=given, plugin=plugin))
        frozen = [_frozen(_done(lambda: session.run(action, again=True), what), session, what) for _ in range(2)]
        same = frozen[0].identity_sha256 == frozen[1].identity_sha256
        _require(same, f"{what} makes another network of {path} each time: draw with a fixed seed")
        return frozen[0].network


def _frozen(made: Done[Imported], session: Session, what: str) -> Frozen:
    path = made.ref(made.result.path)
    job = FreezeJob(kind=made.result.kind, path=str(path), input_shape=(), signature="", allow_code=False)
    return _done(lambda: session.run(networks.FREEZE.action(job)), what).result


def check_pass(name: str, network: str = "", **settings: Any) -> tuple[str, ...]:
    """Do a pass on a network, with and without data as far as it takes them, twice.

    Args:
        name: of the pass.
        network: "module:callable" that returns a Keras model of one input; empty for a small one of images.
        settings: of `[passes.NAME]`.

    Returns:
        What it notes.

    Raises:
        ConformanceError: it cannot be found or fails, refuses its own defaults, returns what is no network of the same
            inputs and outputs, or another one the second time.
    """
    what = f"the pass {name}"
    step = _done(lambda: _step(name, settings), what)
    with _session() as (session, folder):
        carry = CarryJob(kind="callable", path=network or NETWORK, input_shape=(), signature="", allow_code=False)
        carried = _done(lambda: session.run(networks.CARRY.action(carry)), "the network")
        original = carried.ref(networks.NETWORK, carried.result.identity_sha256)
        bare = _job(step, original)
        found: list[Done[Any]] = []
        kind = compression.PASSES[step.tag]
        if step.learns or step.observes:
            job = _with_data(bare, original, session, folder)
            found.append(_twice(session, kind.action(job), what))
        if step.works_untrained and isinstance(step, PluginPass) and found:
            found.append(_done(lambda: session.run(kind.action(bare)), what))
        if not found:
            found.append(_twice(session, kind.action(bare), what))
    return tuple(dict.fromkeys(note for made in found for note in made.result.notes))


def _step(name: str, settings: Mapping[str, Any]) -> Pass:
    layer = Layer("the test", {"passes": {name: dict(settings)}})
    target = targets.load("arm64", Metric(name="accuracy"), [layer]).target
    return next(step for step in (*target.compressions, *target.refinements) if step.called == name)


def _job(step: Pass, network: Ref) -> CompressJob:
    return CompressJob(
        settings=step,
        network=str(network),
        original=str(network),
        lesson=None,
        calibration="",
        preprocess=_settings().preprocess,
        latencies=None,
        float_layers=(),
        seed=0,
    )


def _with_data(bare: CompressJob, network: Ref, session: Session, folder: Path) -> CompressJob:
    """The same with random samples, of which the lesson's time is two seconds."""
    settings, file = _settings(), folder / "data.npz"
    frozen = session.run(
        networks.FREEZE.action(
            FreezeJob(kind=networks.GRAPH, path=str(network), input_shape=(), signature="", allow_code=False)
        )
    ).result.network
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(_SAMPLES, *frozen.inputs[0].shape[1:])).astype(np.float32) for _ in range(2)]
    y = np.arange(_SAMPLES) % frozen.outputs[0].shape[-1]
    np.savez(file, x_train=x[0], x_eval=x[1], y_train=y, y_eval=y)
    split = Split(calibration_samples=16, evaluation_share=0.2, seed=0)
    job = SplitJob(kind="file", path=str(session.give_file(file)), inputs=frozen.inputs, split=split)
    made = session.run(datasets.SPLIT.action(job))
    lesson = LessonJob(
        data=str(made.ref()),
        given_samples=_SAMPLES,
        preprocess=settings.preprocess,
        metric=_settled(Metric(name="accuracy")),
        train=msgspec.structs.replace(settings.train, epochs=1),
        distill=settings.distill,
        seed=0,
        time_s=60.0,
        allow_code=False,
        max_drop=1.0,
    )
    learns, observes = bare.settings.learns, bare.settings.observes
    calibration = str(made.ref(datasets.CALIBRATION)) if observes else ""
    return msgspec.structs.replace(bare, lesson=lesson if learns else None, calibration=calibration)


def _twice(session: Session, action: Any, what: str) -> Done[Any]:
    """What an action leaves, done two times in processes of their own."""
    first = _done(lambda: session.run(action), what)
    second = _done(lambda: session.run(action, again=True), what)
    _require(first.result == second.result, f"{what} makes another result each time: draw with the seed that it gets")
    _require(first.sha256 == second.sha256, f"{what} writes other bytes each time: draw with the seed that it gets")
    return second


@contextlib.contextmanager
def _session() -> Iterator[tuple[Session, Path]]:
    with tempfile.TemporaryDirectory(prefix="edgebuild-testing-") as name:
        folder = Path(name)
        with opened(Store(folder / "store"), Silence(), _settings().limits) as session:
            yield session, folder


def _settings() -> Settings:
    return config.load({}, {}, use_file=False).settings


def _settled(metric: Metric) -> Metric:
    return msgspec.structs.replace(metric, task=Task.CLASSES)


def _done(work: Callable[[], T], what: str) -> T:
    """What it returns; a failure of edgebuild's is one of the plug-in."""
    try:
        return work()
    except ChildBugError as error:
        raise ConformanceError(f"{what} failed: {error.what}") from None
    except UnavailableError:
        raise
    except EdgebuildError as error:
        raise ConformanceError(f"{what} failed: {error}") from None


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ConformanceError(problem)
