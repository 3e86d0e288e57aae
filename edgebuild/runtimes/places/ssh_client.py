"""The system's ssh client: how it is called, and what its failures mean. Keys and host checking are its own."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from edgebuild.errors import EdgebuildError, UnavailableError, UsageError

VARIABLE = "EDGEBUILD_SSH"
# What ssh itself exits with; any other code is the remote program's.
FAILED = 255
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


class _Failure(NamedTuple):
    """What ssh says, and what that means: `what` and `remedy` are completed with the destination."""

    says: str
    what: str
    remedy: str


_INSPECT = "Check the name, and that the machine is on and its ssh server runs: ssh {0}"
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


def command(destination: str, remote: str) -> list[str]:
    """The command that runs `remote` in a shell at a destination.

    Raises:
        UsageError: EDGEBUILD_SSH is no command.
    """
    try:
        client = shlex.split(os.environ.get(VARIABLE, "")) or ["ssh"]
    except ValueError as error:
        raise UsageError(f"{VARIABLE} is no command", str(error), 'Write one as for a shell: "ssh -F FILE"') from None
    options = [part for option in _OPTIONS for part in ("-o", option)]
    return [*client, "-T", *options, "--", destination, remote]


def missing() -> UnavailableError:
    """There is no ssh on this machine."""
    client = os.environ.get(VARIABLE) or "ssh"
    return UnavailableError(
        f"there is no {client} on this machine",
        remedy=f"Install it (apt install openssh-client), or name the command in {VARIABLE}.",
    )


def refused(destination: str, text: str) -> EdgebuildError:
    """Why no connection came about, from what ssh wrote to its standard error."""
    for failure in _FAILURES:
        if failure.says in text:
            return UnavailableError(failure.what.format(destination), text, failure.remedy.format(destination))
    return UnavailableError(f"ssh has no connection to {destination}", text, f"See what it says to: ssh {destination}")
