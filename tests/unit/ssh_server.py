"""A real ssh server on loopback, in a thread of the tests: it runs what it is sent as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncssh
import psutil

from tests.conftest import PATIENCE_S

USER = "tester"
HOST = "board"
DESTINATION = f"{USER}@{HOST}"


def as_it_is(command: str) -> list[str]:
    return ["/bin/sh", "-c", command]


class Server:
    """The server, and the folder that is the home of its user, with a client configuration that leads to it.

    Attributes:
        wrap: how a command is started.
        environment: that commands see.
        others: processes that the tests had before it.
        cut_after: bytes that a command may be sent before its connection is cut; None for no end.
        commands: that were run, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.others = frozenset(processes())
        self.wrap: Callable[[str], Sequence[str]] = as_it_is
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.environment = {
            "HOME": str(folder),
            "PATH": f"{_python_folder(folder)}:/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
        }
        self.cut_after: int | None = None
        self.commands: list[str] = []
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._client_key = asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_S)
        self.port = self._acceptor.get_port()
        self._client_key.write_private_key(folder / "key")
        (folder / "key").chmod(0o600)
        self.know(self._host_key)

    def know(self, host_key: asyncssh.SSHKey | None) -> None:
        """Let the client know a host key as this server's; None for none."""
        known = "" if host_key is None else f"[127.0.0.1]:{self.port} {host_key.export_public_key().decode()}"
        (self.folder / "known_hosts").write_text(known)

    def configure(self, key: Path | None = None, port: int | None = None) -> str:
        """The ssh command that leads to this server, with another key or port if need be."""
        config = self.folder / "config"
        lines = (
            f"Host {HOST}",
            "HostName 127.0.0.1",
            f"Port {port or self.port}",
            f"IdentityFile {key or self.folder / 'key'}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile /dev/null",
            "StrictHostKeyChecking yes",
        )
        config.write_text("\n".join(lines) + "\n")
        return f"ssh -F {config}"

    def cut(self) -> None:
        """Cut all connections without a word, as a pulled cable does once it is noticed."""
        for connection in self._connections:
            self._loop.call_soon_threadsafe(connection.abort)

    def close(self) -> None:
        self.cut()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _close(self) -> None:
        self._acceptor.close()
        await self._acceptor.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        accepted = asyncssh.import_authorized_keys(self._client_key.export_public_key().decode())
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=accepted,
            process_factory=self._serve,
            encoding=None,
        )

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        connection = process.get_extra_info("connection")
        self._connections.append(connection)
        self.commands.append(process.command or "")
        pipe = asyncio.subprocess.PIPE
        started = await asyncio.create_subprocess_exec(
            *self.wrap(process.command or ""), stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment
        )
        assert started.stdin
        assert started.stdout
        assert started.stderr
        given = asyncio.create_task(self._give(process, started.stdin))
        taken = [
            asyncio.create_task(_pass_on(started.stdout, process.stdout)),
            asyncio.create_task(_pass_on(started.stderr, process.stderr)),
        ]
        try:
            await asyncio.gather(*taken)
            code = await started.wait()
            process.exit(code if code >= 0 else 128 - code)
        finally:
            given.cancel()
            started.stdin.close()

    async def _give(self, process: asyncssh.SSHServerProcess[bytes], pipe: asyncio.StreamWriter) -> None:
        taken = 0
        with contextlib.suppress(OSError, asyncssh.Error):
            while chunk := await process.stdin.read(1 << 14):
                pipe.write(chunk)
                await pipe.drain()
                taken += len(chunk)
                if self.cut_after is not None and taken > self.cut_after:
                    self.cut()
        pipe.close()


async def _pass_on(pipe: asyncio.StreamReader, channel: asyncssh.SSHWriter[bytes]) -> None:
    while chunk := await pipe.read(1 << 14):
        # Where nobody listens any more the command still gets rid of what it writes, as with a real server.
        with contextlib.suppress(OSError, asyncssh.Error):
            channel.write(chunk)
            await channel.drain()


def _python_folder(folder: Path) -> Path:
    """A folder with nothing but this Python, as python3."""
    programs = folder / "bin"
    programs.mkdir()
    script = programs / "python3"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return programs


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A server for the time of a test."""
    made = Server(folder)
    try:
        yield made
    finally:
        made.close()


def processes() -> list[psutil.Process]:
    """The processes that this one has started and theirs, without those that have ended."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def running(name: str) -> list[psutil.Process]:
    """Those of them that run a script of that name."""
    found = []
    for process in processes():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(Path(part).name == name for part in process.cmdline()):
                found.append(process)
    return found


def nothing_is_left(made: Server, within_s: float = PATIENCE_S) -> bool:
    """Whether the other end is clean, at the latest after a while: no file and no process."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not [*made.temporary.iterdir()] and not set(processes()) - made.others:
            return True
        time.sleep(0.05)
    return False


def can_mount() -> bool:
    """Whether a file system can be mounted here, in a name space of its own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
