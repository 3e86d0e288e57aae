"""Several actions at a time on this machine, as many as there is room for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from edgebuild.core.action import HOST_TIMER, Takes
from edgebuild.errors import UnavailableError
from edgebuild.execution import alone
from edgebuild.execution.children import Children
from edgebuild.execution.executor import CancelledError, Work


@dataclass(eq=False)
class Item:
    """What waits, and then runs with what it holds alone."""

    work: Work
    takes: Takes
    future: Future[bytes]
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    was_told: bool = False
    refusal: UnavailableError | None = None

    @property
    def wants_quiet(self) -> bool:
        """Whether nothing else may be done meanwhile."""
        return self.takes.all_cores or HOST_TIMER in self.takes.alone

    @property
    def memory_bytes(self) -> int:
        """What it usually takes."""
        return self.work.kind.tool.memory_bytes


class Pool:
    """An executor of threads, each of which has one child at work.

    What is timed on this machine is done while nothing else is, and so is what takes all cores: how far a training gets
    in its time would else depend on what runs beside it. Both wait until nothing else is left that could be done.

    Args:
        children: that do the work.
        width: how many at a time.
        memory_bytes: what they may usually take together; one is done in any case.
    """

    def __init__(self, children: Children, width: int, memory_bytes: int) -> None:
        self.width = width
        self._children, self._memory_bytes = children, memory_bytes
        self._waiting: list[Item] = []
        self._running: list[Item] = []
        self._is_closed = False
        self._changed = threading.Condition()
        # They live as long as the executor, since Linux ends a child with the thread that started it.
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(width)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> Future[bytes]:
        """Do it once there is room."""
        future: Future[bytes] = Future()
        with self._changed:
            if self._is_closed:
                raise CancelledError
            self._waiting.append(Item(work, work.kind.takes(work.action.settings), future))
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """End the children, and what waits for one."""
        with self._changed:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        self._children.close()
        for item in waiting:
            item.future.set_exception(CancelledError())
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (item := self._next()) is not None:
            try:
                with item.held:
                    if item.refusal is not None:
                        raise item.refusal
                    result = self._perform(item.work)
            except Exception as error:
                self._done(item)
                item.future.set_exception(CancelledError() if self._is_closed else error)
            else:
                self._done(item)
                item.future.set_result(result)

    def _next(self) -> Item | None:
        """The next that there is room for; None at the end."""
        with self._changed:
            while not self._is_closed:
                ready = [item for item in self._waiting if self._has_room(item)]
                found = next((item for item in ready if self._is_time_for(item)), None)
                if found is not None:
                    self._waiting.remove(found)
                    self._running.append(found)
                    return found
                # Nobody tells when another process lets go of what it holds, or when a child was at work for long.
                self._changed.wait(alone.LOOK_EVERY_S if ready else None)
            return None

    def _is_time_for(self, item: Item) -> bool:
        return self._children.is_worth_starting(item.work.kind.tool) and _holds(item)

    def _done(self, item: Item) -> None:
        with self._changed:
            self._running.remove(item)
            self._changed.notify_all()

    def _has_room(self, item: Item) -> bool:
        return self._fits(item, self._running) and keeps_apart(item, self._running)

    def _fits(self, item: Item, beside: Sequence[Item]) -> bool:
        """Whether there is memory for it beside others."""
        taken = sum(running.memory_bytes for running in beside)
        return not beside or taken + item.memory_bytes <= self._memory_bytes

    def _perform(self, work: Work) -> bytes:
        return self._children.perform(work)


def keeps_apart(item: Item, beside: Sequence[Item]) -> bool:
    """Whether an action may be done beside others on one machine."""
    if not beside:
        return True
    if any(running.wants_quiet for running in beside) or item.wants_quiet:
        return False
    held = {name for running in beside for name in running.takes.alone}
    return held.isdisjoint(item.takes.alone)


def _holds(item: Item) -> bool:
    """Whether it has now what it must have alone in this machine."""
    try:
        found = alone.try_to_hold(item.takes.alone)
    except UnavailableError as error:
        item.refusal = error
        return True
    if isinstance(found, str):
        if not item.was_told:
            item.was_told = True
            item.work.say(alone.waiting(found))
        return False
    item.held = found
    return True
