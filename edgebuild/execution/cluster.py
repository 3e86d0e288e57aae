"""Actions on the machines of a Ray cluster; what belongs to this machine is done here beside.

An action travels as JSON, its inputs as bytes: each is put into Ray's object store once a session, and unpacked once on
each machine that needs it. The other end is `edgebuild.execution.errands`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any

import msgspec

from edgebuild import host
from edgebuild.core.action import Ref
from edgebuild.core.settings import LimitSettings
from edgebuild.errors import StepError, UsageError
from edgebuild.execution import errands, packing
from edgebuild.execution.children import Children
from edgebuild.execution.connection import Connection, first_line
from edgebuild.execution.errands import Errand, Reply
from edgebuild.execution.executor import CancelledError, Work
from edgebuild.execution.pool import Item, Pool, keeps_apart
from edgebuild.process import ChildBugError, ChildDiedError

_KINDS, _TABLE = "edgebuild.actions.table", "edgebuild.execution.serving"

# How often the work of a worker that was lost is done again.
RETRIES = 3
# How many actions are asked for beyond what there is room for: workers need not wait for their next one, and a cluster
# that grows by what it is asked for sees it.
_AHEAD = 16
# How often it is looked whether the session was closed, should Ray not tell.
_LOOK_EVERY_S = 1.0


class Cluster(Pool):
    """An executor with two rooms: the cluster, and this machine for what belongs to it.

    Where this machine is one of the cluster's, what is timed on it waits until nothing is done in either.

    Args:
        connection: to the cluster, which outlives the executor.
        children: that do what is done here.
        limits: what an action may take there.
        jobs: how many at a time here.
        memory_bytes: what these may usually take together.
        kinds: the module whose KINDS workers know.
        table: the module whose JOBS their children know.
    """

    def __init__(
        self,
        connection: Connection,
        children: Children,
        limits: LimitSettings,
        jobs: int,
        memory_bytes: int,
        kinds: str = _KINDS,
        table: str = _TABLE,
    ) -> None:
        self._workers = _Workers(connection, limits, kinds, table)
        self._jobs, self._asked = jobs, connection.cores + _AHEAD
        self._is_here = connection.is_here
        super().__init__(children, jobs + self._asked, memory_bytes)

    @property
    def sent(self) -> tuple[int, int]:
        """The bytes of inputs that were put into the store, and those of outputs that came back."""
        return self._workers.put_bytes, self._workers.got_bytes

    @property
    def done_by(self) -> dict[str, int]:
        """How many actions each worker did: "machine, process N"."""
        return dict(self._workers.done_by)

    def close(self) -> None:
        """End what is under way there and here, and what waits."""
        self._is_closed = True
        self._workers.close()
        super().close()

    def _has_room(self, item: Item) -> bool:
        is_sent = goes(item.work)
        beside = [running for running in self._running if goes(running.work) == is_sent]
        if is_sent:
            # There Ray keeps apart what takes all cores, and finds memory.
            return len(beside) < self._asked and (not self._is_here or keeps_apart(item, self._running))
        apart = keeps_apart(item, self._running if self._is_here else beside)
        return apart and len(beside) < self._jobs and self._fits(item, beside)

    def _is_time_for(self, item: Item) -> bool:
        return goes(item.work) or super()._is_time_for(item)

    def _perform(self, work: Work) -> bytes:
        return self._workers.perform(work) if goes(work) else self._children.perform(work)


def goes(work: Work) -> bool:
    """Whether an action may be done elsewhere: its result, and what it reads, are no matter of this machine."""
    kind, settings = work.kind, work.action.settings
    return not (kind.of_host or kind.runs_own_code(settings)) and not kind.takes(settings).alone


class _Workers:
    """The workers of a cluster, as seen from the session."""

    def __init__(self, connection: Connection, limits: LimitSettings, kinds: str, table: str) -> None:
        self._ray, self._largest = connection.ray, connection.largest
        self._limits, self._kinds, self._table = limits, kinds, table
        self._session = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._inputs: dict[Ref, Future[list[Any]]] = {}
        self._under_way: dict[int, tuple[Any, Work]] = {}
        self._ears: Any = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._task = self._ray.remote(_do)
        self.put_bytes = self.got_bytes = 0
        self.done_by: Counter[str] = Counter()

    def perform(self, work: Work) -> bytes:
        """Do an action on a worker, as `Children.perform` does it here.

        Raises:
            EdgebuildError, ChildBugError: as there.
            UsageError: the worker's edgebuild, or a package, is another one.
            CancelledError: the session was closed.
        """
        number = next(self._numbers)
        errand = msgspec.json.encode(self._errand(number, work))
        inputs = {str(ref): self._put(ref, work) for ref in work.action.inputs()}
        takes = {
            "num_cpus": self._largest.cores if work.kind.takes(work.action.settings).all_cores else 1,
            "memory": min(work.kind.tool.memory_bytes, self._largest.memory_bytes) or None,
        }
        with self._lock:
            if self._is_closed:
                raise CancelledError
            if self._ears is None:
                self._listen()
            pending = self._task.options(**takes, max_retries=RETRIES).remote(errand, inputs, self._ears)
            self._under_way[number] = (pending, work)
        try:
            head, chunks = self._result(pending, work)
        finally:
            with self._lock:
                del self._under_way[number]
        return self._brought(msgspec.json.decode(head, type=Reply), chunks, work)

    def close(self) -> None:
        """End all that is under way, with its processes."""
        with self._lock:
            self._is_closed = True
            pending = [item for item, _ in self._under_way.values()]
            ears, self._ears = self._ears, None
        for item in pending:
            with contextlib.suppress(Exception):  # it may be done by now
                self._ray.cancel(item, force=True)
        if ears is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(ears)

    def _errand(self, number: int, work: Work) -> Errand:
        return Errand(
            number=number,
            session=self._session,
            kind=work.action.kind,
            settings=msgspec.Raw(msgspec.json.encode(work.action.settings)),
            kinds=self._kinds,
            table=self._table,
            limits=self._limits,
            made_of=errands.made_of(work.kind),
            threads=os.environ.get("OMP_NUM_THREADS"),
        )

    def _put(self, ref: Ref, work: Work) -> list[Any]:
        """An input in Ray's store, put there by whoever needs it first."""
        with self._lock:
            known = self._inputs.get(ref)
            future: Future[list[Any]] = known or self._inputs.setdefault(ref, Future())
        if known is not None:
            return known.result()
        chunks: list[Any] = []

        def take(chunk: bytes) -> None:
            chunks.append(self._ray.put(chunk))
            with self._lock:
                self.put_bytes += len(chunk)

        try:
            path = work.locate(ref)
            packing.pack(path, take, path.name or "input")
        except Exception as error:
            is_file = isinstance(error, OSError)
            failed = StepError("a file could not be read", str(error)) if is_file else error
            with self._lock:
                del self._inputs[ref]
            future.set_exception(failed)
            raise failed from None
        future.set_result(chunks)
        return chunks

    def _result(self, pending: Any, work: Work) -> tuple[bytes, list[bytes]]:
        found = self._ray.exceptions
        while True:
            try:
                head, chunks = self._ray.get(pending, timeout=_LOOK_EVERY_S)
                return head, chunks
            except found.GetTimeoutError:
                if self._is_closed:
                    raise CancelledError from None
            except found.TaskCancelledError:
                raise CancelledError from None
            except found.RayTaskError as error:
                raise unforeseen(error) from None
            except found.RayError as error:
                raise ChildDiedError(
                    f"the cluster lost the worker of this action {1 + RETRIES} times",
                    first_line(error),
                    work.kind.if_it_crashes or "See whether its machines have memory enough: ray status.",
                ) from None

    def _brought(self, reply: Reply, chunks: list[bytes], work: Work) -> bytes:
        """The result, once the files are where they belong; raises what the reply says."""
        if reply.differs:
            raise refusal(reply)
        error = errands.error_of(reply)
        if error is not None:
            raise error
        with self._lock:
            self.done_by[reply.worker] += 1
            self.got_bytes += sum(map(len, chunks))
        packing.unpack(chunks, work.out)
        return bytes(reply.result)

    def _listen(self) -> None:
        """Start to pass on what workers tell; it is no loss if that fails."""
        ears = self._ears = self._ray.remote(errands.Ears).options(num_cpus=0).remote()

        def listen() -> None:
            with contextlib.suppress(Exception):  # the end of the actor, or of the connection
                while not self._is_closed:
                    for number, text in self._ray.get(ears.heard.remote()):
                        _, work = self._under_way.get(number, (None, None))
                        if work is not None:
                            work.say(text)

        threading.Thread(target=listen, daemon=True).start()


def _do(data: bytes, inputs: dict[str, list[Any]], ears: Any) -> tuple[bytes, list[bytes]]:
    """What a worker calls."""
    import ray  # which is there

    return errands.perform(data, inputs, ray.get, ears.say.remote)


def refusal(reply: Reply) -> UsageError:
    """Why a worker did nothing: what it has otherwise than this machine."""
    name, here, there = reply.differs[0]
    if "code" in name:
        what = f"{name} is another one on the cluster than here"
        return UsageError(what, f"Worker: {reply.worker}.", "Install the same edgebuild on all its machines.")
    return UsageError(
        f"{name} is {there or 'not installed'} on the cluster, and {here or 'not installed'} here",
        f"Worker: {reply.worker}. Results would depend on where an action is done.",
        f"On its machines: pip install {name}=={here}" if here else f"On its machines: pip uninstall {name}",
    )


def unforeseen(error: Exception) -> Exception:
    """What a worker raised outside of an action: most often it has no edgebuild."""
    text = str(error)
    if "No module named 'edgebuild" in text:
        version = host.versions(["edgebuild"])["edgebuild"]
        return UsageError(
            "there is no edgebuild on a worker of the cluster",
            remedy=f"On its machines: pip install 'edgebuild[cluster]=={version}'",
        )
    return ChildBugError(text)
