"""One build's dealings with the store and the children: a step is looked up, else done by a child and published."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import msgspec

from edgebuild import hashing
from edgebuild.core.progress import Listener
from edgebuild.core.settings import LimitSettings
from edgebuild.engine import toolchain
from edgebuild.engine.store import Entry, Store
from edgebuild.process import Child, ChildDiedError, Limits

T = TypeVar("T", bound=msgspec.Struct)

_TENSORFLOW = "edgebuild.passes.worker"


class Worker(NamedTuple):
    """A kind of child: its table of jobs, and what it is called in messages."""

    module: str
    purpose: str


LITERT = Worker("edgebuild.runtimes.litert", "the interpreter")


class Step(NamedTuple):
    """One unit of work.

    Attributes:
        name: the child's job.
        title: for people.
        depends_on: everything that decides the result, beside the toolchain; None for work that is done each time.
        is_known: whether that is all: a function whose source is not known may be another one tomorrow, so that what
            it made is found again in this session alone.
        job: makes the job's settings, given the folder to write into.
        again: whether to do it even where its result is kept, and keep the new one instead.
        extra_s: what it may take beyond the limit of a step.
        if_it_crashes: what the user can do where the child's process ends without a word.
    """

    name: str
    title: str
    depends_on: object | None
    job: Callable[[Path], msgspec.Struct]
    again: bool = False
    is_known: bool = True
    extra_s: float = 0.0
    if_it_crashes: str = ""


class Made(NamedTuple):
    """What a step left: its folder, and the answer of the child as JSON."""

    path: Path
    result: bytes

    def read(self, kind: type[T]) -> T:
        """The answer as its type."""
        return msgspec.json.decode(self.result, type=kind)


class Session:
    """Runs the steps of one build; TensorFlow's child lives from its first step to `leave_tensorflow`.

    `spent` are the seconds that steps took by their names, those kept from earlier builds included.
    """

    def __init__(self, store: Store, listener: Listener, limits: LimitSettings, code: tuple[str, ...]) -> None:
        self._store = store
        self._listener = listener
        self._step_limits = Limits(time_s=limits.step_time, memory_bytes=limits.step_memory)
        self._run_limits = Limits(time_s=limits.run_time, memory_bytes=limits.run_memory)
        self._code = code
        self._resources = contextlib.ExitStack()
        self._tensorflow: Child | None = None
        # Seconds by the names of steps: what they took now, or when they were done.
        self.spent: dict[str, float] = {}
        self._told: set[str] = set()  # the keys of steps that were done or found in this session
        self._own: dict[str, Made] = {}  # what is found again in this session alone

    def __enter__(self) -> Session:
        self._logs = self._resources.enter_context(self._store.workspace())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def transform(self, step: Step) -> Made:
        """A step of TensorFlow's child.

        Raises:
            EdgebuildError: the step failed.
        """
        return self._look_up_or_do(step, self._transform)

    def run(self, steps: list[Step], worker: Worker = LITERT) -> list[Made]:
        """Steps of one artifact in an interpreter or another tool, in a fresh child that does them in order.

        Raises:
            EdgebuildError: a step failed.
        """
        log = self._logs / f"{worker.module}.log"
        with Child(worker.module, worker.purpose, log, self._code) as child:

            def do(step: Step, out: Path) -> bytes:
                limits = msgspec.structs.replace(self._run_limits, time_s=self._run_limits.time_s + step.extra_s)
                return child.call(step.name, step.job(out), limits, self._listener.step_progressed)

            return [self._look_up_or_do(step, do) for step in steps]

    @property
    def run_limits(self) -> Limits:
        """What a child that runs an artifact, or a tool below it, may take."""
        return self._run_limits

    def scratch(self) -> Path:
        """A new empty folder that is gone at the session's end."""
        return Path(tempfile.mkdtemp(dir=self._logs))

    def leave_tensorflow(self) -> None:
        """End TensorFlow's child, so that its memory and its threads do not disturb what is measured next."""
        if self._tensorflow is not None:
            self._tensorflow.close()
            self._tensorflow = None

    def _transform(self, step: Step, out: Path) -> bytes:
        if self._tensorflow is None:
            child = Child(_TENSORFLOW, "the converter", self._logs / "tensorflow.log", self._code)
            self._tensorflow = self._resources.enter_context(child)
        limits = msgspec.structs.replace(self._step_limits, time_s=self._step_limits.time_s + step.extra_s)
        try:
            return self._tensorflow.call(step.name, step.job(out), limits, self._listener.step_progressed)
        except ChildDiedError as error:
            raise ChildDiedError(error.what, error.why, error.remedy or step.if_it_crashes) from None

    def _look_up_or_do(self, step: Step, do: Callable[[Step, Path], bytes]) -> Made:
        if step.depends_on is None:
            return self._do(step, do, None)
        key = hashing.of_data([step.name, step.depends_on, toolchain.digest()])
        if not step.is_known:
            if key not in self._own:
                self._own[key] = self._do(step, do, None)
            return self._own[key]
        entry = self._kept(step, key)
        if entry is not None:
            return self._reuse(step, entry, key)
        with self._store.lock(key, lambda: self._listener.noted(f"waiting for another build: {step.title}")):
            entry = self._kept(step, key)
            return self._reuse(step, entry, key) if entry is not None else self._do(step, do, key)

    def _kept(self, step: Step, key: str) -> Entry | None:
        return None if step.again else self._store.get(key)

    def _do(self, step: Step, do: Callable[[Step, Path], bytes], key: str | None) -> Made:
        self._listener.step_started(step.title)
        started = time.monotonic()
        try:
            entry = self._make(step, do, key)
        except BaseException:
            self._listener.step_failed()
            raise
        self._listener.step_finished(step.title, time.monotonic() - started, reused=False)
        if key is not None:
            self._told.add(key)
        return Made(entry.path, entry.result)

    def _spend(self, step: Step, time_s: float) -> None:
        self.spent[step.name] = self.spent.get(step.name, 0.0) + time_s

    def _make(self, step: Step, do: Callable[[Step, Path], bytes], key: str | None) -> Entry:
        started = time.monotonic()
        with self._store.workspace() as out:
            result = do(step, out)
            time_s = time.monotonic() - started
            self._spend(step, time_s)
            if key is not None:
                return self._store.publish(key, out, result, replace=step.again, time_s=time_s)
            # What is done each time is kept under its result, which holds the digests of the files that it made.
            key = hashing.of_data([step.name, msgspec.Raw(result)])
            with self._store.lock(key, lambda: None):
                return self._store.publish(key, out, result)

    def _reuse(self, step: Step, entry: Entry, key: str) -> Made:
        if key not in self._told:
            self._listener.step_finished(step.title, 0.0, reused=True)
            self._told.add(key)
            self._spend(step, entry.time_s)
        return Made(entry.path, entry.result)
