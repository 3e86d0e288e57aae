"""One action after another, in the order that they are asked for."""

from __future__ import annotations

from concurrent.futures import Future

from edgebuild.execution import alone
from edgebuild.execution.children import Children
from edgebuild.execution.executor import Work


class Inline:
    """An executor that has done an action by the time that its future is returned."""

    width = 1

    def __init__(self, children: Children) -> None:
        self._children = children

    def submit(self, work: Work) -> Future[bytes]:
        """Do it now."""
        future: Future[bytes] = Future()
        try:
            with alone.held(work.kind.takes(work.action.settings).alone, work.say):
                future.set_result(self._children.perform(work))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """End the children."""
        self._children.close()
