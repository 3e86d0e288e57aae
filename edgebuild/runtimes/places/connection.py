"""One connection to a program at the other end of ssh: the system's client, spoken with in JSON lines."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from edgebuild.child import Say
from edgebuild.errors import EdgebuildError, StepError, UnavailableError, UsageError
from edgebuild.runtimes.places.dialogue import Dialogue
from edgebuild.runtimes.places.protocol import busy, waiting
from edgebuild.units import format_seconds

# Python takes the program from its input, for a command line could not hold it; -I: no file lying about is imported.
_BOOT = "import sys; i = sys.stdin.buffer; exec(compile(i.read(int(i.readline())), 'edgebuild', 'exec'))"
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_OLDEST_PYTHON = (3, 9)
# A login, and the start of Python on a slow board.
_GREETING_S = 60.0
# A link over which nothing moves for so long is as good as cut.
_STALL_S = 30.0
# One that waits for its turn says so every other second.
_SILENT_S = 30.0
_NO_SUCH_COMMAND = (126, 127)
_VARIABLE = "EDGEBUILD_SSH"
# What ssh itself exits with; any other code is the remote program's.
_FAILED = 255
# A connection over which nothing comes for some 20 s is cut. Ports that are forwarded would clash where there are two.
_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
)
_INSPECT = "Check the name, and that the machine is on and its ssh server runs: ssh {0}"


class NoPythonError(UnavailableError):
    """The machine at the other end has no Python that can be used."""


class Connection:
    """The supervisor at the other end.

    Args:
        destination: as ssh takes it.
        python: the command that starts Python there.

    Raises:
        NoPythonError: there is none, or it is too old.
        UnavailableError: there is no ssh here, or no connection.
    """

    def __init__(self, destination: str, python: str) -> None:
        self._destination = destination
        self._python = python
        self._greeted = False
        self._dialogue = open_dialogue(destination, f'{python} -I -c "{_BOOT}"')
        try:
            self._greet()
        except BaseException:
            self.end()
            raise

    def write(self, data: bytes) -> None:
        """Send bytes; where they are not taken, the next answer tells why.

        Raises:
            StepError: the connection is stuck.
        """
        try:
            self._dialogue.write(data, _STALL_S)
        except BrokenPipeError:
            return
        except TimeoutError:
            self.end()
            raise StepError(
                f"the connection to {self._destination} is stuck",
                f"Nothing moved for {format_seconds(_STALL_S)}.",
                "See whether the network holds, and measure again.",
            ) from None

    def send(self, message: dict[str, Any]) -> None:
        """Send a JSON line, as `write` does."""
        self.write(msgspec.json.encode(message) + b"\n")

    def answer(self, time_s: float) -> dict[str, Any]:
        """The next JSON line.

        Raises:
            TimeoutError: there was none within `time_s` seconds.
            StepError: the connection was cut, or the program ended.
        """
        line = self._dialogue.line(time_s)
        if line is None:
            self._gone()
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def turn(self, most_s: float, say: Say) -> None:
        """Wait until no other call measures there, and keep others away until the connection ends.

        Args:
            most_s: how long it may take.
            say: is told where it has to wait.

        Raises:
            UnavailableError: it took longer.
            StepError: the connection was cut, or there was no lock to be had.
        """
        deadline = time.monotonic() + most_s
        self.send({"queue": {}})
        if "waiting" in (answer := self._heard()):
            say(waiting(self._destination))
        while "waiting" in answer:
            if time.monotonic() > deadline:
                self.end()
                raise busy(self._destination, most_s)
            answer = self._heard()
        if "error" in answer:
            self.end()
            raise StepError(f"there is no lock to be had on {self._destination}", answer["error"]["text"])

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._dialogue.is_over

    def end(self) -> None:
        """End the input, at which the program there cleans up and ends; may be called again."""
        self._dialogue.end()

    def _greet(self) -> None:
        word = secrets.token_hex(8)
        program = _SUPERVISOR.read_bytes() + f"\nmain({word!r})\n".encode()
        self.write(f"{len(program)}\n".encode() + program)
        try:
            while True:
                line = self._dialogue.line(_GREETING_S)
                if line is None:
                    self._gone()
                if word.encode() in line:
                    break
        except TimeoutError:
            raise UnavailableError(
                f"{self._destination} let us in and does not answer",
                f"Its Python had not started after {format_seconds(_GREETING_S)}.",
                f"See what a login does there: ssh {self._destination} {self._python} --version",
            ) from None
        self._greeted = True
        version = tuple(msgspec.json.decode(line)["python"])
        if version < _OLDEST_PYTHON:
            oldest, found = (".".join(map(str, numbers)) for numbers in (_OLDEST_PYTHON, version))
            raise NoPythonError(f"{self._destination} has Python {found}", f"Python {oldest} or newer is needed.")

    def _heard(self) -> dict[str, Any]:
        try:
            return self.answer(_SILENT_S)
        except TimeoutError:
            self.end()
            raise StepError(
                f"{self._destination} does not answer any more", remedy="See whether the network holds, and try again."
            ) from None

    def _gone(self) -> NoReturn:
        code, text = self._dialogue.end()
        if not self._greeted and code in _NO_SUCH_COMMAND:
            raise NoPythonError(f"{self._destination} has no {self._python}", text)
        if not self._greeted and code != _FAILED:
            raise NoPythonError(f"{self._python} does not start on {self._destination} (exit code {code})", text)
        raise gone(self._destination, code, text, self._greeted)


def open_dialogue(destination: str, remote: str) -> Dialogue:
    """Start ssh with a command for the other end.

    Raises:
        UnavailableError: there is no ssh here.
        UsageError: EDGEBUILD_SSH is no command.
    """
    try:
        return Dialogue(_command(destination, remote))
    except OSError:
        raise _missing() from None


def gone(destination: str, code: int, text: str, greeted: bool) -> EdgebuildError:
    """Why a connection ended that should not have: ssh's exit code and what it said, and whether we had got in."""
    if not greeted and code == _FAILED:
        return _refused(destination, text)
    if not greeted:
        return UnavailableError(
            f"{destination} let us in and ran nothing (exit code {code})",
            text,
            f"See whether it runs commands: ssh {destination} python3 --version",
        )
    if code == _FAILED:
        return StepError(
            f"the connection to {destination} was cut", text, "See whether the network holds, and measure again."
        )
    return StepError(f"the program on {destination} was ended (exit code {code})", text, "Measure again.")


class _Failure(NamedTuple):
    """What ssh says, and what that means: `what` and `remedy` are completed with the destination."""

    says: str
    what: str
    remedy: str


# The first that fits counts: of a changed host key ssh also says that the verification failed.
_FAILURES = (
    _Failure(
        "has changed",
        "the host key of {0} is not the one that ssh knows",
        "If the machine was set up anew, remove its old key: ssh-keygen -R HOST. If not, somebody may be in between.",
    ),
    _Failure(
        "Host key verification failed",
        "ssh does not know the host key of {0}",
        "Connect once by hand and compare the fingerprint: ssh {0}",
    ),
    _Failure(
        "Permission denied",
        "{0} does not accept the key",
        "Give it one that asks for no passphrase, or put it into ssh-agent: ssh-copy-id {0}",
    ),
    _Failure("Too many authentication failures", "{0} does not accept the keys", "Name one in ssh's configuration."),
    _Failure("Could not resolve hostname", "{0} cannot be reached: ssh knows no such host", _INSPECT),
    _Failure("Connection refused", "{0} cannot be reached: it refuses the connection", _INSPECT),
    _Failure("timed out", "{0} cannot be reached: it does not answer", _INSPECT),
    _Failure("No route to host", "{0} cannot be reached: there is no route to it", _INSPECT),
    _Failure("unreachable", "{0} cannot be reached: there is no way to its network", _INSPECT),
)


def _command(destination: str, remote: str) -> list[str]:
    """The command that runs `remote` in a shell at a destination.

    Raises:
        UsageError: EDGEBUILD_SSH is no command.
    """
    try:
        client = shlex.split(os.environ.get(_VARIABLE, "")) or ["ssh"]
    except ValueError as error:
        raise UsageError(f"{_VARIABLE} is no command", str(error), 'Write one as for a shell: "ssh -F FILE"') from None
    options = [part for option in _OPTIONS for part in ("-o", option)]
    return [*client, "-T", *options, "--", destination, remote]


def _missing() -> UnavailableError:
    """There is no ssh on this machine."""
    client = os.environ.get(_VARIABLE) or "ssh"
    return UnavailableError(
        f"there is no {client} on this machine",
        remedy=f"Install it (apt install openssh-client), or name the command in {_VARIABLE}.",
    )


def _refused(destination: str, text: str) -> EdgebuildError:
    """Why no connection came about, from what ssh wrote to its standard error."""
    for failure in _FAILURES:
        if failure.says in text:
            return UnavailableError(failure.what.format(destination), text, failure.remedy.format(destination))
    return UnavailableError(f"ssh has no connection to {destination}", text, f"See what it says to: ssh {destination}")
