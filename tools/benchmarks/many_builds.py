"""Many trivial builds on a Ray started here, against one after another: the same results, and what sending them takes.

    ./tools/run python tools/benchmarks/many_builds.py [--builds N] [--actions N]

Builds N networks of two dense layers for arm64 (int8; nothing is timed) inline, in a pool of two, on two workers of
Ray, and once more there with a worker that is killed by its process number in the middle. All four have a store of
their own; what is in them is compared entry by entry, and so are the artifacts. Then N actions that do next to nothing
are done one after another, inline and on Ray. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgebuild import api, config, hashing, host
from edgebuild.actions.runtimes import TFLM_KERNELS, KernelsJob
from edgebuild.actions.table import KINDS
from edgebuild.core.progress import Silence
from edgebuild.execution.children import Children
from edgebuild.execution.cluster import Cluster
from edgebuild.execution.connection import LOCAL, connected
from edgebuild.execution.executor import Executor
from edgebuild.execution.inline import Inline
from edgebuild.execution.pool import Pool
from edgebuild.execution.session import Session
from edgebuild.execution.store import Store
from edgebuild.pipeline import build as building

_WORKERS = 2
_TARGET = "arm64"
_MEMORY_BYTES = 8 * 10**9
_LIMITS = config.load({}, {}, use_file=False).settings.limits
_MAKE = """
import sys, numpy as np, tf_keras
for number in range(int(sys.argv[1])):
    tf_keras.utils.set_random_seed(number)
    inputs = tf_keras.Input((16,), name="x")
    hidden = tf_keras.layers.Dense(8 + number % 8, activation="relu")(inputs)
    outputs = tf_keras.layers.Dense(4, activation="softmax")(hidden)
    tf_keras.Model(inputs, outputs).save(f"{sys.argv[2]}/net{number}.keras")
x = np.random.default_rng(0).normal(size=(200, 16)).astype("float32")
np.savez(f"{sys.argv[2]}/data.npz", x=x, y=np.arange(200) % 4)
"""


class Ran(NamedTuple):
    """What one way of doing all builds took and left."""

    wall_s: float
    actions: int
    artifacts: dict[str, str]
    entries: dict[str, str]
    spent: dict[str, float]
    executor: Executor


class Empty(NamedTuple):
    """What actions that do next to nothing took: the seconds of each, and those of the session's processor for one."""

    times_s: list[float]
    cpu_s: float


class Counting(Silence):
    """Counts the actions that were done."""

    def __init__(self) -> None:
        self.done = 0

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:  # noqa: ARG002  # as all listeners
        """Count it unless it was found."""
        self.done += not reused


def main() -> None:
    """Do all builds in each way and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--builds", type=int, default=40)
    parser.add_argument("--actions", type=int, default=50)
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", _MAKE, str(arguments.builds), name], check=True)
        ways: dict[str, Callable[[Path], Any]] = {
            "inline": _inline,
            f"pool of {_WORKERS}": _pool,
            f"Ray, {_WORKERS} workers": _ray,
            f"Ray, {_WORKERS} workers, one killed": _ray,
        }
        found = {}
        for way, opened in ways.items():
            found[way] = _run(
                folder, folder / hashing.of_bytes(way.encode()), opened, arguments.builds, "killed" in way
            )
            print(f"{way}: {found[way].wall_s:.0f} s", file=sys.stderr)
        overheads = {way: _one_by_one(folder, ways[way], arguments.actions) for way in list(ways)[::2]}
    _print(found, overheads, arguments.builds)


@contextmanager
def _inline(folder: Path) -> Iterator[Executor]:
    yield Inline(Children(folder, _LIMITS, ()))


@contextmanager
def _pool(folder: Path) -> Iterator[Executor]:
    yield Pool(Children(folder, _LIMITS, ()), _WORKERS, _MEMORY_BYTES)


@contextmanager
def _ray(folder: Path) -> Iterator[Executor]:
    with connected(LOCAL, _WORKERS) as connection:
        yield Cluster(connection, Children(folder, _LIMITS, ()), _LIMITS, 1, _MEMORY_BYTES)


def _run(folder: Path, own: Path, opened: Callable[[Path], Any], builds: int, kills: bool) -> Ran:
    own.mkdir()
    store, listener = Store(own / "store"), Counting()
    plans = [_plans(folder, number) for number in range(builds)]
    started = time.monotonic()
    with store.workspace() as logs, opened(logs) as executor:
        session = Session(store, listener, executor, logs)
        finished: list[int] = []

        def build(number: int) -> None:
            out = own / "dist" / str(number)
            (outcome,) = building.build(plans[number], out, session, listener, again=False, vet=False)
            assert outcome.error is None, outcome.error
            finished.append(number)

        if kills:
            threading.Thread(target=_kill_one, args=(executor, finished, builds), daemon=True).start()
        session.each(build, list(range(builds)))
        wall_s = time.monotonic() - started
        executor.close()
        session.join()
    artifacts = {str(path.relative_to(own)): hashing.of_file(path) for path in sorted(own.rglob("*.tflite"))}
    made = {name: sha for name, sha in artifacts.items() if name.startswith("dist")}
    return Ran(wall_s, listener.done, made, _entries(own), session.spent, executor)


def _kill_one(executor: Cluster, finished: list[int], builds: int) -> None:
    """End a worker, by the number that its results tell, once a third of the builds are there."""
    while len(finished) < builds // 3 or not executor.done_by:
        time.sleep(0.05)
    worker = max(executor.done_by, key=executor.done_by.__getitem__)
    os.kill(int(worker.rpartition(" ")[2]), signal.SIGKILL)


def _plans(folder: Path, number: int) -> list[Any]:
    options = {
        "model": {"path": str(folder / f"net{number}.keras")},
        "data": {"path": str(folder / "data.npz")},
        "build": {"targets": [_TARGET], "compress": False, "refine": False},
        "bench": {"on": []},
    }
    return api.plans(config.load(options, {}, use_file=False))


def _entries(own: Path) -> dict[str, str]:
    """What the store holds by keys: the results, and the digests of files by their paths in an entry."""
    found = {}
    for path in (own / "store").rglob("record.json"):
        record = msgspec.json.decode(path.read_bytes())
        found[path.parent.name] = hashing.of_data(record["result"])
        found.update({f"{path.parent.name}/{name}": sha for name, sha in record["sha256"].items()})
    return found


def _one_by_one(folder: Path, opened: Callable[[Path], Any], count: int) -> Empty:
    """Some actions that do next to nothing, one after another; the first, which starts a child, is left out."""
    began = 0.0
    store = Store(Path(tempfile.mkdtemp(dir=folder)))
    with store.workspace() as logs, opened(logs) as executor:
        session = Session(store, Silence(), executor, logs)
        times = []
        for number in range(count + 1):
            began = time.process_time() if number < 2 else began
            started = time.monotonic()
            session.run(TFLM_KERNELS.action(KernelsJob(operators=("ADD",) * number)))
            times.append(time.monotonic() - started)
        cpu_s = (time.process_time() - began) / count
        executor.close()
        session.join()
    return Empty(times[1:], cpu_s)


def _print(found: dict[str, Ran], overheads: dict[str, Empty], builds: int) -> None:
    versions = ", ".join(f"{name} {version(name)}" for name in ("edgebuild", "ray", "tensorflow", "ai-edge-litert"))
    print(f"Host: {host.describe()}; Python {sys.version.split()[0]}; {versions}; {builds} builds.\n")
    print("| way | wall | actions | artifacts as inline | results | files | sent | received | done by workers |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    inline = found["inline"]
    for way, ran in found.items():
        artifacts = sum(ran.artifacts.get(name) == sha for name, sha in inline.artifacts.items())
        equal = [key for key, sha in inline.entries.items() if ran.entries.get(key) == sha]
        results = [len([key for key in keys if "/" not in key]) for keys in (equal, inline.entries)]
        files = [len([key for key in keys if "/" in key]) for keys in (equal, inline.entries)]
        moved = ["-"] * 3
        if isinstance(ran.executor, Cluster):
            sent, received = ran.executor.sent
            by_worker = " + ".join(str(count) for count in ran.executor.done_by.values())
            moved = [f"{sent / 1e6:.1f} MB", f"{received / 1e6:.1f} MB", by_worker]
        counts = ((artifacts, len(inline.artifacts)), results, files)
        same = " | ".join(f"{some} of {most}" for some, most in counts)
        print(f"| {way} | {ran.wall_s:.1f} s | {ran.actions} | {same} | {' | '.join(moved)} |")
    others = [key for ran in found.values() for key, sha in inline.entries.items() if ran.entries.get(key) != sha]
    names = sorted({key.partition("/")[2].partition("/")[0] for key in others})
    print(f"\nFiles that differ are in: {', '.join(names) or 'none'}.")
    stays = sum(spent for kind, spent in inline.spent.items() if KINDS[kind].of_host)
    goes = sum(inline.spent.values()) - stays
    print(f"Seconds of actions, inline: {goes:.1f} of kinds that may go elsewhere, {stays:.1f} of this machine's own.")
    print("\n| an action that does next to nothing | median | min | max | processor of the session |")
    print("| --- | --- | --- | --- | --- |")
    for way, empty in overheads.items():
        times = (statistics.median(empty.times_s), min(empty.times_s), max(empty.times_s), empty.cpu_s)
        print(f"| {way} | {' | '.join(f'{value * 1e3:.1f} ms' for value in times)} |")


if __name__ == "__main__":
    main()
