"""LiteRT's C library as its wheel brings it: the functions that profiling needs, which its Python face leaves out.

Signatures are those of litert/c/*.h of the versions in VERSIONS. They change from one to the next without notice, and a
wrong one can end the process: nothing is called in a version that was not tried.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from edgebuild.errors import UnavailableError

_PACKAGE, _MODULE = "ai-edge-litert", "ai_edge_litert"
VERSIONS = ("2.3.",)
_LIBRARY = "libLiteRt.dylib" if sys.platform == "darwin" else "libLiteRt.so"
_OUT = POINTER(c_void_p)
_MEMORY_FIGURES = 6


class RawEvent(ctypes.Structure):
    """ProfiledEventData: what was timed, and among whose nodes it has the number `node`; memory is of no use here."""

    _fields_ = [
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_uint64 * _MEMORY_FIGURES),
        ("node", c_uint64),
        ("graph", c_uint64),
        ("source", c_int),
    ]


# Each gives a status, but for those named Destroy.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CreateEnvironment": (c_int, c_void_p, _OUT),
    "CreateModelFromBuffer": (c_void_p, c_char_p, c_size_t, _OUT),
    "CreateOptions": (_OUT,),
    "SetOptionsHardwareAccelerators": (c_void_p, c_int),
    "CreateOpaqueOptions": (c_char_p, c_void_p, c_void_p, _OUT),
    "AddOpaqueOptions": (c_void_p, c_void_p),
    "CreateCompiledModel": (c_void_p, c_void_p, c_void_p, _OUT),
    "CompiledModelGetProfiler": (c_void_p, _OUT),
    "StartProfiler": (c_void_p,),
    "ResetProfiler": (c_void_p,),
    "GetNumProfilerEvents": (c_void_p, POINTER(c_int)),
    "GetProfilerEvents": (c_void_p, c_int, POINTER(RawEvent)),
    "GetModelSignature": (c_void_p, c_size_t, _OUT),
    "GetNumSignatureInputs": (c_void_p, POINTER(c_size_t)),
    "GetNumSignatureOutputs": (c_void_p, POINTER(c_size_t)),
    "GetSignatureInputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetSignatureOutputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetTensorName": (c_void_p, POINTER(c_char_p)),
    "GetRankedTensorType": (c_void_p, c_void_p),
    "GetCompiledModelInputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "GetCompiledModelOutputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "CreateManagedTensorBufferFromRequirements": (c_void_p, c_void_p, c_void_p, _OUT),
    "GetTensorBufferPackedSize": (c_void_p, POINTER(c_size_t)),
    "LockTensorBuffer": (c_void_p, _OUT, c_int),
    "UnlockTensorBuffer": (c_void_p,),
    "RunCompiledModel": (c_void_p, c_size_t, c_size_t, _OUT, c_size_t, _OUT),
    "DestroyEnvironment": (c_void_p,),
    "DestroyModel": (c_void_p,),
    "DestroyOptions": (c_void_p,),
    "DestroyCompiledModel": (c_void_p,),
    "DestroyTensorBuffer": (c_void_p,),
}


class Library:
    """The functions by their names without "LiteRt"; a status that is not success is an UnavailableError.

    Raises:
        UnavailableError: the installed version was not tried, or brings no such library.
    """

    def __init__(self) -> None:
        version = importlib.metadata.version(_PACKAGE)
        if not version.startswith(VERSIONS):
            raise UnavailableError(f"how to ask {_PACKAGE} {version} for a profile is not known")
        path = _folder() / _LIBRARY
        if not path.is_file():
            raise UnavailableError(f"{_PACKAGE} {version} brings no {_LIBRARY}, which profiles")
        self._library = ctypes.CDLL(str(path))
        self._standard = ctypes.CDLL(None)
        self._standard.strdup.restype = c_void_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            UnavailableError: it failed.
        """
        function = getattr(self._library, f"LiteRt{name}")
        function.argtypes = _SIGNATURES[name]
        function.restype = None if name.startswith("Destroy") else c_int
        status = function(*arguments)
        if status:
            raise UnavailableError("LiteRT's profiler could not be used", f"{name} ended with status {status}")

    def made(self, name: str, *arguments: Any) -> c_void_p:
        """What a function hands out through its last argument."""
        out = c_void_p()
        self.call(name, *arguments, ctypes.byref(out))
        return out

    def count(self, name: str, *arguments: Any) -> int:
        """The number that a function hands out through its last argument."""
        out = c_int() if _SIGNATURES[name][-1] is POINTER(c_int) else c_size_t()
        self.call(name, *arguments, ctypes.byref(out))
        return int(out.value)

    def add_options(self, options: c_void_p, identifier: str, toml: str) -> None:
        """Give options of one part of LiteRT, as TOML text, which the library frees itself."""
        text = c_void_p(self._standard.strdup(toml.encode()))
        free = ctypes.cast(self._standard.free, c_void_p)
        self.call("AddOpaqueOptions", options, self.made("CreateOpaqueOptions", identifier.encode(), text, free))


def _folder() -> Path:
    found = importlib.util.find_spec(_MODULE)
    if found is None or found.origin is None:
        raise UnavailableError(f"{_PACKAGE} is not installed")
    return Path(found.origin).parent
