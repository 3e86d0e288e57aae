"""Git repositories, read through git itself: no shell, no hooks, no pager, with limits on time and output."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgebuild.core.record import Commit

_TIME_S = 10.0
# Asked in each build: better a commit without that detail than a build that waits for a slow disk.
_STATUS_TIME_S = 2.0
_LISTING_BYTES = 4_000_000
# No artifact for a device is larger.
_FILE_BYTES = 2_000_000_000
_CHUNK_BYTES = 1 << 16
# Where git is run by a hook, these would lead it to that hook's repository.
_LEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # looking at the state writes nothing
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
}
# A repository's own configuration may name programs to run.
_SAFE = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class GitError(Exception):
    """Git is absent, said no, took too long or said too much; the text is one sentence."""


class UnknownRefError(GitError):
    """There is no repository, or no commit of that name in it."""


def commit(*places: Path) -> Commit:
    """The state of the repository that the first of these places lies in which lies in any."""
    for place in places:
        with contextlib.suppress(GitError):
            folder = _folder(place)
            sha = _run(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
            return Commit(sha, _is_dirty(folder))
    return Commit()


def project(place: Path) -> str:
    """What artifacts that are built from a folder belong to: its repository, shared by all its worktrees, or itself."""
    try:
        shared = Path(os.fsdecode(_run(_folder(place), "rev-parse", "--git-common-dir")).removesuffix("\n"))
    except GitError:
        return str(place.resolve())
    folder = (_folder(place) / shared).resolve()
    return str(folder.parent if folder.name == ".git" else folder)


def top(place: Path) -> Path:
    """The folder of the repository that a place lies in, whether the place itself is there or not; raises GitError."""
    try:
        text = os.fsdecode(_run(_folder(place), "rev-parse", "--show-toplevel"))
    except _RefusedError as error:
        if "not a git repository" in str(error):
            raise UnknownRefError(f"{place} lies in no git repository") from None
        raise
    return Path(text.removesuffix("\n"))


def resolve(repository: Path, ref: str) -> str:
    """The SHA of the commit that a ref names: a tag, a branch, "HEAD~3".

    Raises:
        GitError: there is none of that name.
    """
    if ref.startswith("-") or not ref.isprintable():
        raise UnknownRefError(f"{ref!r} is no git ref")
    try:
        return _run(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except _RefusedError:
        shallow = ""
        if _is_shallow(repository):
            shallow = "; this checkout is shallow: fetch all of it (git fetch --unshallow --tags, in CI fetch-depth: 0)"
        raise UnknownRefError(f"git knows no commit {ref}{shallow}") from None


def _is_shallow(repository: Path) -> bool:
    """Whether commits were left out as it was cloned."""
    try:
        return _run(repository, "rev-parse", "--is-shallow-repository").strip() == b"true"
    except GitError:
        return False


def files(repository: Path, sha: str, folder: str) -> list[str]:
    """The paths of all files below a folder of a commit ("" for all), relative to the repository; raises GitError."""
    listing = _run(repository, "ls-tree", "-r", "-z", "--name-only", "--full-tree", sha, "--", folder or ".")
    return [os.fsdecode(path) for path in listing.split(b"\0") if path]


def read(repository: Path, sha: str, path: str) -> bytes:
    """What a commit holds at a path, as it is stored: no filter is run; raises GitError."""
    return _run(repository, "cat-file", "blob", f"{sha}:{path}", most_bytes=_FILE_BYTES)


class _RefusedError(GitError):
    """Git ended with an error."""


def _is_dirty(folder: Path) -> bool | None:
    try:
        return bool(_run(folder, "status", "--porcelain", "--untracked-files=no", time_s=_STATUS_TIME_S))
    except GitError:
        return None


def _folder(place: Path) -> Path:
    """The nearest folder at or above a place that is there."""
    path = place.absolute()
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _run(folder: Path, *arguments: str, time_s: float = _TIME_S, most_bytes: int = _LISTING_BYTES) -> bytes:
    """What a git command prints; raises GitError."""
    git = shutil.which("git")
    if git is None:
        raise GitError("git is not installed")
    environment = {name: value for name, value in os.environ.items() if name not in _LEADING}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [git, *_SAFE, "-C", os.fspath(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**environment, **_ENVIRONMENT},
                # A session of its own, so that whatever git starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise GitError(f"git cannot be run: {error.strerror}") from None
        try:
            found = b"".join(_output(process, time_s, most_bytes))
            code = process.wait(timeout=time_s)
        except subprocess.TimeoutExpired:
            raise GitError(f"git was not done after {time_s:g} s") from None
        finally:
            _end(process)
        if code:
            errors.seek(0)
            raise _RefusedError(_last_line(errors.read(_CHUNK_BYTES)))
    return found


def _output(process: subprocess.Popen[bytes], time_s: float, most_bytes: int) -> Iterator[bytes]:
    """What a process prints, in pieces, until it closes its output."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + time_s
    size_bytes = 0
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise GitError(f"git was not done after {time_s:g} s")
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return
        size_bytes += len(chunk)
        if size_bytes > most_bytes:
            raise GitError(f"git gave more than {most_bytes:,} bytes")
        yield chunk


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ") if lines else "git ended with an error"
