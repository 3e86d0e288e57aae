"""Vendors' compilers: whether they are installed here, and how they are."""

from __future__ import annotations

import shutil

from edgebuild import host

EDGETPU = "edgetpu_compiler"
# Coral's own instructions: Debian's package, from Coral's repository.
EDGETPU_INSTALL = "sudo apt-get install edgetpu-compiler (x86-64 Debian or Ubuntu; see coral.ai/docs/edgetpu/compiler)"
VELA_INSTALL = "pip install 'edgebuild[ethosu]'"
_VELA = "ethos-u-vela"


def edgetpu() -> str | None:
    """The path of the Edge TPU compiler; None where it is not installed."""
    return shutil.which(EDGETPU)


def vela() -> str | None:
    """The version of Vela; None where it is not installed. It is not imported."""
    return host.versions([_VELA]).get(_VELA)
