"""Sessions for tests: with real children, with children of another table, or with answers from a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgebuild import hashing
from edgebuild.core.action import Ref
from edgebuild.core.plan import Source
from edgebuild.core.progress import Listener, Silence
from edgebuild.core.settings import LimitSettings
from edgebuild.execution import session as sessions
from edgebuild.execution.children import Children
from edgebuild.execution.fake import Answer, Fake
from edgebuild.execution.inline import Inline
from edgebuild.execution.session import Session
from edgebuild.execution.store import Store

LIMITS = LimitSettings(step_time=300, step_memory=10**10, run_time=300, run_memory=10**10)
ROOT = Path(__file__).parents[2]
# Of what is never read.
NOWHERE = Ref("0" * 64, "0" * 64)


@contextmanager
def opened(folder: Path, jobs: int = 1) -> Iterator[Session]:
    """A session with children."""
    with sessions.session(Store(folder / "store"), Silence(), LIMITS, jobs=jobs) as session:
        yield session


@contextmanager
def of_table(folder: Path, table: str) -> Iterator[Session]:
    """A session whose children do what a module of the tests says."""
    store = Store(folder / "store")
    with store.workspace() as logs:
        executor = Inline(Children(logs, LIMITS, (str(ROOT),), table))
        try:
            yield Session(store, Silence(), executor, logs)
        finally:
            executor.close()


def answering(folder: Path, answers: Mapping[str, Answer], listener: Listener | None = None) -> tuple[Session, Fake]:
    """A session that starts no process, and the executor that knows what it was asked."""
    executor = Fake(answers)
    folder.mkdir(parents=True, exist_ok=True)
    return Session(Store(folder / "store"), listener or Silence(), executor, folder), executor


def folder(session: Session, path: Path) -> Ref:
    """A folder that actions read where it lies."""
    return session.give(Source(kind="folder", path=str(path), sha256=hashing.of_tree(path)))
