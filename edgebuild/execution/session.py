"""The actions of one call of edgebuild: each is looked up in the store, else done by an executor and published."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from edgebuild import hashing
from edgebuild.actions.table import KINDS
from edgebuild.core.action import Action, Kind, R, Ref
from edgebuild.core.plan import Source
from edgebuild.core.progress import Listener
from edgebuild.core.settings import LimitSettings
from edgebuild.errors import StepError
from edgebuild.execution import keys
from edgebuild.execution.children import Children
from edgebuild.execution.executor import Executor, Work
from edgebuild.execution.inline import Inline
from edgebuild.execution.pool import Pool
from edgebuild.execution.store import Entry, Store

T = TypeVar("T")
U = TypeVar("U")

# The build, of several in a session, that asks for what is done.
_BUILD: contextvars.ContextVar[str] = contextvars.ContextVar("build", default="")
# How the entries of what users gave begin; those of the store are digests.
_GIVEN = "given-"


class Done(NamedTuple, Generic[R]):
    """What an action left: its result, the key of its entry in the store, and the digests of its files."""

    result: R
    key: str
    sha256: dict[str, str]

    def ref(self, inside: str = "", identity: str = "") -> Ref:
        """A file or a folder of it, by its own digest unless it is known by another identity."""
        if not identity and inside in self.sha256:
            identity = self.sha256[inside]
        if not identity:
            below = f"{inside}/" if inside else ""
            identity = hashing.of_data({name: sha for name, sha in self.sha256.items() if name.startswith(below)})
        return Ref(identity, self.key, inside)


class Session:
    """Does the actions of one call; threads may share it.

    `spent` are the seconds that actions took by their kinds, those kept from earlier builds included.

    Args:
        store: where results are kept.
        listener: is told what happens.
        executor: does what is not kept.
        folder: for what lasts as long as the session.
    """

    def __init__(self, store: Store, listener: Listener, executor: Executor, folder: Path) -> None:
        self._store, self._listener, self._executor, self._folder = store, listener, executor, folder
        self.spent: dict[str, float] = {}
        self._given: dict[str, Path] = {}
        self._asked: dict[str, Future[Done[Any]]] = {}  # by key: what was asked for in this session
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()

    def run(self, action: Action[R], *, again: bool = False) -> Done[R]:
        """Do an action, or find what it made.

        Args:
            action: what to do.
            again: whether to do it even where its result is kept, and keep the new one instead.

        Raises:
            EdgebuildError: it failed.
            ChildBugError: it raised what nothing expects.
        """
        return self.submit(action, again=again).result()

    def submit(self, action: Action[R], *, again: bool = False) -> Future[Done[R]]:
        """As `run`, but without waiting; where one action is done after another, it is done now."""
        kind = KINDS[action.kind]
        key = keys.key(action, kind)
        with self._lock:
            future = self._asked.get(key)
            if future is not None and not _has_failed(future):
                return future
            future = self._asked[key] = Future()
        if self._executor.width > 1:
            self._start(functools.partial(self._settle, future, action, kind, key, again=again))
        else:
            self._settle(future, action, kind, key, again=again)
        return future

    def each(self, do: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Do something for each item, side by side where the executor does several actions at a time.

        Raises:
            Exception: what `do` raised of the first item that it failed for, once all are done.
        """
        if self._executor.width == 1 or len(items) < 2:
            return [do(item) for item in items]
        futures: list[Future[U]] = [Future() for _ in items]

        def settle(item: T, future: Future[U]) -> None:
            try:
                future.set_result(do(item))
            except BaseException as error:
                future.set_exception(error)

        for item, future in zip(items, futures, strict=True):
            self._start(functools.partial(settle, item, future))
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def give(self, source: Source) -> Ref:
        """What a user gave, to be read by actions where it was first said to lie."""
        key = f"{_GIVEN}{source.sha256}"
        with self._lock:
            self._given.setdefault(key, Path(source.path))
        return Ref(source.sha256, key)

    def give_file(self, path: Path) -> Ref:
        """A file that is there as long as the session."""
        return self.give(Source(kind="file", path=str(path), sha256=hashing.of_file(path)))

    def path(self, ref: Ref) -> Path:
        """Where a file or a folder lies on this machine; it is not to be changed."""
        root = self._given[ref.entry] if ref.entry.startswith(_GIVEN) else self._store.folder(ref.entry)
        return root / ref.inside if ref.inside else root

    def scratch(self) -> Path:
        """A new empty folder that is gone at the session's end."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def join(self, patience_s: float = 10.0) -> None:
        """Let what waits for actions put its folders away, once the executor is closed."""
        until = time.monotonic() + patience_s
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def noted(self, text: str) -> None:
        """Tell the user something."""
        with self._lock:
            self._listener.noted(_of_build(text))

    @contextlib.contextmanager
    def on_behalf_of(self, build: str) -> Iterator[None]:
        """What is done and noted in here carries the name of a build, of several in this session."""
        token = _BUILD.set(build)
        try:
            yield
        finally:
            _BUILD.reset(token)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()]
            thread.start()
            self._threads.append(thread)

    def _settle(
        self, future: Future[Done[Any]], action: Action[Any], kind: Kind[Any, Any], key: str, *, again: bool
    ) -> None:
        try:
            entry_key, entry = self._look_up_or_do(action, kind, key, again=again)
            result = msgspec.json.decode(entry.result, type=kind.result)
            future.set_result(Done(result, entry_key, entry.sha256))
        except Exception as error:
            future.set_exception(error)

    def _look_up_or_do(self, action: Action[Any], kind: Kind[Any, Any], key: str, *, again: bool) -> tuple[str, Entry]:
        if not kind.is_known(action.settings):
            return self._do_and_keep_under_its_result(action, kind)
        entry = None if again else self._store.get(key)
        if entry is not None:
            return key, self._reuse(action, entry)
        with self._store.lock(key, lambda: self.noted(f"waiting for another build: {action.title}")):
            entry = None if again else self._store.get(key)
            if entry is not None:
                return key, self._reuse(action, entry)
            with self._store.workspace() as out:
                result, time_s = self._do(action, kind, out)
                return key, self._store.publish(key, out, result, replace=again, time_s=time_s)

    def _do_and_keep_under_its_result(self, action: Action[Any], kind: Kind[Any, Any]) -> tuple[str, Entry]:
        with self._store.workspace() as out:
            result, _ = self._do(action, kind, out)
            key = keys.of_result(action, result)
            with self._store.lock(key, lambda: None):
                return key, self._store.publish(key, out, result)

    def _do(self, action: Action[Any], kind: Kind[Any, Any], out: Path) -> tuple[bytes, float]:
        title = _of_build(action.title)
        self._tell(lambda: self._listener.step_started(title))
        started = time.monotonic()

        def say(text: str) -> None:
            self._tell(lambda: self._listener.step_progressed(title, text))

        try:
            try:
                result = self._executor.submit(Work(action, kind, out, self.path, say)).result()
            finally:
                self._require_unchanged(action)
        except BaseException:
            self._tell(lambda: self._listener.step_failed(title))
            raise
        time_s = time.monotonic() - started
        self._tell(lambda: self._listener.step_finished(title, time_s, reused=False))
        self._spend(action, time_s)
        return result, time_s

    def _require_unchanged(self, action: Action[Any]) -> None:
        """Refuse what was made of a file that is another one by now: it would be kept under the digest of the old one.

        What is gone was there when it was read, or the action has failed of it.
        """
        for ref in action.inputs():
            path = self._given.get(ref.entry)
            # By the digest that it was given under: parts of it may be known by others.
            if path is not None and path.exists() and f"{_GIVEN}{_digest(path)}" != ref.entry:
                raise StepError(f"{path} was changed while it was read", remedy="Run again once nothing writes to it.")

    def _reuse(self, action: Action[Any], entry: Entry) -> Entry:
        title = _of_build(action.title)
        self._tell(lambda: self._listener.step_finished(title, 0.0, reused=True))
        self._spend(action, entry.time_s)
        return entry

    def _tell(self, tell: Callable[[], None]) -> None:
        with self._lock:
            tell()

    def _spend(self, action: Action[Any], time_s: float) -> None:
        with self._lock:
            self.spent[action.kind] = self.spent.get(action.kind, 0.0) + time_s


def _digest(path: Path) -> str:
    try:
        return hashing.of_tree(path)
    except OSError:
        return ""  # files of the folder come and go


def _of_build(text: str) -> str:
    return f"{_BUILD.get()}: {text}" if _BUILD.get() else text


def _has_failed(future: Future[Any]) -> bool:
    """Whether it is over and came to nothing; what failed may be asked for once more."""
    return future.done() and future.exception() is not None


@contextlib.contextmanager
def session(
    store: Store,
    listener: Listener,
    limits: LimitSettings,
    code: tuple[str, ...] = (),
    jobs: int = 1,
    cluster: str = "",
) -> Iterator[Session]:
    """A session on this machine, or with the help of a cluster.

    Args:
        store: where results are kept.
        listener: is told what happens.
        limits: what an action may take.
        code: folders where modules of the user are looked up, after everything else.
        jobs: how many actions may be done at a time on this machine.
        cluster: the Ray cluster that helps, as `connection.connected` takes it; empty for none.

    Raises:
        UsageError: it names no cluster.
        UnavailableError: the cluster cannot be reached, or Ray is not installed.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(store.workspace())
        children = Children(folder, limits, code)
        executor: Executor
        if cluster:
            from edgebuild.execution.cluster import Cluster  # of use to few
            from edgebuild.execution.connection import connected

            link = stack.enter_context(connected(cluster, jobs))
            executor = Cluster(link, children, limits, jobs, _memory_bytes())
        else:
            executor = Pool(children, jobs, _memory_bytes()) if jobs > 1 else Inline(children)
        session = Session(store, listener, executor, folder)
        try:
            yield session
        finally:
            executor.close()
            session.join()


def default_jobs() -> int:
    """How many actions this machine does at a time: one on each core; memory limits them as they come."""
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    """What actions may take together: most of this machine's memory."""
    return round(_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


_OF_MEMORY = 0.8
