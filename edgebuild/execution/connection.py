"""Connections to Ray clusters: one that runs, or one that is started here for a while."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgebuild import host
from edgebuild.errors import UnavailableError, UsageError

INSTALL = "pip install 'edgebuild[cluster]'"
AUTO, LOCAL, REMOTE = "auto", "local", "ray://"
_ADDRESS_VARIABLE = "RAY_ADDRESS"
# Linux allows a socket no more than 107 characters, of which Ray takes 65 for itself.
_LONGEST_FOLDER = 40


class Machine(NamedTuple):
    """What actions may take of a machine."""

    cores: int
    memory_bytes: int


class Connection(NamedTuple):
    """A cluster that this process is connected with.

    Attributes:
        ray: the module.
        cores: of all its machines.
        largest: its machine with the most cores.
        is_here: whether this machine is one of them.
    """

    ray: Any
    cores: int
    largest: Machine
    is_here: bool


@contextlib.contextmanager
def connected(where: str, jobs: int) -> Iterator[Connection]:
    """A connection as long as this lasts; one that this process has already is used and left as it is.

    Args:
        where: AUTO for the cluster that RAY_ADDRESS names or else the one running here, an address that begins with
            REMOTE, or LOCAL to start one here.
        jobs: how many workers are started for LOCAL.

    Raises:
        UsageError: it is none of these.
        UnavailableError: Ray is not installed, or there is no such cluster.
    """
    if where not in (AUTO, LOCAL) and not where.startswith(REMOTE):
        raise UsageError(f"{where!r} is no cluster", remedy=f"Say {AUTO}, {LOCAL} or {REMOTE}HOST:10001.")
    if not host.versions(["ray"]):
        raise UnavailableError("Ray is not installed here", remedy=f"Install it: {INSTALL}")
    for name, value in _QUIET_RAY.items():
        os.environ.setdefault(name, value)
    import ray  # an extra, which takes a second to import

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            from edgebuild.execution import errands  # what only asks how Ray is installed needs it not

            stack.callback(errands.sweep)  # of workers that ran here and were killed
            if where == LOCAL:
                _start(ray, jobs, stack)
            else:
                stack.callback(ray.shutdown)
                _connect(ray, where)
        yield _seen(ray)


def _start(ray: Any, jobs: int, stack: contextlib.ExitStack) -> None:
    if _MODE_VARIABLE not in os.environ:
        stack.callback(os.environ.pop, _MODE_VARIABLE, None)  # Ray sets it
    for name, value in _OWN_RAY.items():
        if name not in os.environ:
            os.environ[name] = value
            stack.callback(os.environ.pop, name, None)
    folder = tempfile.mkdtemp(prefix="edgebuild-ray-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(ray.shutdown)
    given: dict[str, Any] = {"_temp_dir": folder} if len(folder) <= _LONGEST_FOLDER else {}
    with _quietly():
        ray.init(address="local", num_cpus=jobs, include_dashboard=False, **_SILENT, **given)


# Of a Ray that is started here: it has nobody to tell of its use, and serves nobody else of this machine. Without a
# token Ray would make one and leave it in the user's home; it remembers the first that a process has.
_OWN_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
_MODE_VARIABLE = "RAY_AUTH_MODE"
# Read as Ray is imported: it would write of what becomes of workers to this process's standard output, which is of
# results alone, and of each try to reach a cluster.
_QUIET_RAY = {"RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_BACKEND_LOG_LEVEL": "error"}
_SILENT = {"logging_level": logging.ERROR, "log_to_driver": False}


def _connect(ray: Any, where: str) -> None:
    address = (os.environ.get(_ADDRESS_VARIABLE) or AUTO) if where == AUTO else where
    try:
        with _quietly():
            ray.init(address=address, **_SILENT)
    except Exception as error:  # of many types, from three libraries
        named = "running here" if address == AUTO else f"at {address}"
        raise UnavailableError(
            f"there is no Ray cluster {named} that could be used",
            first_line(error),
            "Start one (ray start --head), name one (--on-cluster ray://HOST:10001, whose head needs ray[default]), or "
            "try --on-cluster local. Ray and Python must have the same versions there as here; where a token is asked "
            "for, set RAY_AUTH_MODE=token.",
        ) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Ray's advice for those who write for it, nor what its libraries print of each try; errors tell enough."""
    own, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(nothing)


def _seen(ray: Any) -> Connection:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    machines = [Machine(*(int(node["Resources"].get(name, 0)) for name in ("CPU", "memory"))) for node in nodes]
    cores = sum(machine.cores for machine in machines)
    here = os.uname().nodename
    is_here = any(node["NodeManagerHostname"] == here for node in nodes)
    return Connection(ray, max(1, cores), max([Machine(1, 0), *machines]), is_here)


def first_line(error: Exception) -> str:
    """What an error says first; its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
