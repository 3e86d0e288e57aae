"""The children that do actions: each serves many of them, so that what they import is imported once."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from edgebuild.core.action import HOST_TIMER, Bound, Tool, with_files
from edgebuild.core.settings import LimitSettings
from edgebuild.errors import EdgebuildError
from edgebuild.execution.executor import CancelledError, Work
from edgebuild.process import Child, ChildBugError, ChildDiedError, ChildSlowError, Limits

_SERVING = "edgebuild.execution.serving"
# What another child takes to import TensorFlow, on a core that does nothing else: what is done sooner is waited for.
_TENSORFLOW_STARTS_S = 5.0


class Children:
    """A stock of children; threads take one each.

    A thread that starts a child must outlive it: Linux ends a child with the thread that started it.

    Args:
        logs: a folder for what they print.
        limits: what an action may take.
        code: folders where modules of the user are looked up, after everything else.
        table: the module whose JOBS say what actions do.
    """

    def __init__(self, logs: Path, limits: LimitSettings, code: tuple[str, ...], table: str = _SERVING) -> None:
        self._logs, self._code, self._table = logs, code, table
        self._of_tensorflow = Limits(time_s=limits.step_time, memory_bytes=limits.step_memory)
        self._of_runs = Limits(time_s=limits.run_time, memory_bytes=limits.run_memory)
        self._idle: defaultdict[bool, list[Child]] = defaultdict(list)  # by whether they hold TensorFlow
        self._busy: dict[Child, tuple[Tool, float]] = {}  # with what, and since when
        self._started = 0
        self._is_closed = False
        self._lock = threading.Lock()

    def perform(self, work: Work) -> bytes:
        """Do an action and return its result as JSON.

        Raises:
            EdgebuildError: it failed.
            ChildDiedError: the process crashed, or was ended for breaking its limits.
            ChildBugError: it raised what nothing expects.
        """
        kind = work.kind
        takes = kind.takes(work.action.settings)
        if HOST_TIMER in takes.alone:
            self._leave_tensorflow()
        limits = self._of_tensorflow if kind.tool.is_tensorflow else self._of_runs
        bound = Bound(str(work.out), limits.time_s, limits.memory_bytes)
        settings = with_files(work.action.settings, work.path, bound)
        limits = Limits(time_s=limits.time_s + takes.extra_s, memory_bytes=limits.memory_bytes)
        try:
            return self._call(work, settings, limits)
        except ChildDiedError as error:
            raise type(error)(error.what, error.why, error.remedy or kind.if_it_crashes) from None

    def is_worth_starting(self, tool: Tool) -> bool:
        """Whether an action is done sooner now than in a child that is at work: TensorFlow takes long to import."""
        if not tool.is_tensorflow:
            return True
        with self._lock:
            since = [begun for busy, begun in self._busy.values() if busy.is_tensorflow]
            return bool(self._idle[True]) or not since or time.monotonic() - max(since) > _TENSORFLOW_STARTS_S

    def close(self) -> None:
        """End all of them, those at work as well."""
        with self._lock:
            self._is_closed = True
            idle = [*self._idle[False], *self._idle[True]]
            self._idle.clear()
            for child in self._busy:
                child.kill()  # the thread that waits for it closes it
        for child in idle:
            child.close()

    def _call(self, work: Work, settings: Any, limits: Limits) -> bytes:
        child = self._take(work.kind.tool)
        is_sound = False  # unless it has answered, it may be at work still
        try:
            has_served = child.runs
            try:
                result = child.call(work.action.kind, settings, limits, work.say)
            except ChildSlowError:
                raise
            except ChildDiedError:
                # What it did before may have been its end.
                if not has_served or self._is_closed:
                    raise
                _empty(work.out)
                result = child.call(work.action.kind, settings, limits, work.say)
            is_sound = True
            return result
        except (EdgebuildError, ChildBugError):
            is_sound = child.runs
            raise
        finally:
            is_kept = is_sound and not work.kind.tool.is_fresh and not _runs_own_code(work)
            self._give_back(child, is_kept=is_kept)

    def _take(self, tool: Tool) -> Child:
        with self._lock:
            if self._is_closed:
                raise CancelledError
            idle = self._idle[tool.is_tensorflow]
            child = idle.pop() if idle and not tool.is_fresh else None
            if child is None:
                self._started += 1
                child = Child(self._table, tool.purpose, self._logs / f"child{self._started}.log", self._code)
            child.purpose = tool.purpose
            self._busy[child] = tool, time.monotonic()
            return child

    def _give_back(self, child: Child, *, is_kept: bool) -> None:
        with self._lock:
            tool, _ = self._busy.pop(child)
            is_kept = is_kept and not self._is_closed
            if is_kept:
                self._idle[tool.is_tensorflow].append(child)
        if not is_kept:
            child.close()

    def _leave_tensorflow(self) -> None:
        """End idle children that hold TensorFlow, whose memory and threads would disturb what is timed."""
        with self._lock:
            children, self._idle[True] = self._idle[True], []
        for child in children:
            child.close()


def _runs_own_code(work: Work) -> bool:
    """Whether it calls functions of the user, whose traces must not reach what is done after it.

    Such as another working folder, environment or seed, a policy of Keras, threads.
    """
    return work.kind.runs_own_code(work.action.settings)


def _empty(folder: Path) -> None:
    """Remove what an action left that did not come to its end."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
