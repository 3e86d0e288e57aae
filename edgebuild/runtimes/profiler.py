"""Running a network in LiteRT with its profiler on.

Signatures are those of litert/c/*.h of the versions in VERSIONS. They change from one to the next without notice, and a
wrong one can end the process: nothing is called in a version that was not tried.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from edgebuild.core.target import Kernels
from edgebuild.data.given import Array
from edgebuild.errors import UnavailableError

RESOLUTION_S = 1e-6
_CPU = 1
_WRITE = 1
# LiteRtRankedTensorType takes 72 bytes.
_TYPE_BYTES = 128
# LiteRtCpuKernelMode; what it calls reference is not the interpreter's reference kernels.
_MODES = {Kernels.XNNPACK: 0, Kernels.BUILTIN: 2}
_PACKAGE, _MODULE = "ai-edge-litert", "ai_edge_litert"
VERSIONS = ("2.3.",)
_LIBRARY = "libLiteRt.dylib" if sys.platform == "darwin" else "libLiteRt.so"
_OUT = POINTER(c_void_p)
_MEMORY_FIGURES = 6


class StepKind(IntEnum):
    """The kinds of events that are steps of an inference: an operator, or one inside of a delegate."""

    OPERATOR = 1 << 1
    DELEGATE = 1 << 2
    DELEGATE_OPERATOR = 1 << 3


class Step(NamedTuple):
    """One step of an inference: the runtime's name for it, and its number among the graph's or the delegate's nodes."""

    kind: StepKind
    name: str
    node: int


class Profile(NamedTuple):
    """The steps of one inference in order, and what each took, in seconds of the profiler's resolution."""

    steps: tuple[Step, ...]
    times_s: tuple[float, ...]


class Profiler:
    """A network that is loaded for profiling.

    Args:
        data: the bytes of the .tflite file.
        kernels: XNNPACK or the builtin ones.
        threads: how many they may use.
        fills: what each input stores, by its name.

    Raises:
        UnavailableError: LiteRT's library cannot be asked, not for these kernels, or not about this network.
    """

    def __init__(self, data: bytes, kernels: Kernels, threads: int, fills: Mapping[str, Array]) -> None:
        if kernels not in _MODES:
            raise UnavailableError(f"LiteRT's profiler does not run {kernels} kernels")
        self._library = _Library()
        self._owned: list[tuple[str, ctypes.c_void_p]] = []
        # The library reads the network from here as long as it lives.
        self._data = data
        made = self._library.made
        self._environment = self._own("Environment", made("CreateEnvironment", 0, None))
        try:
            self._load(kernels, threads)
            self._inputs = self._buffers("Input")
            self._outputs = self._buffers("Output")
            self._fill(fills)
        except BaseException:
            self.close()
            raise
        self._profiler = made("CompiledModelGetProfiler", self._compiled)

    def __enter__(self) -> Profiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self) -> Profile:
        """Run one inference and tell what its steps took; raises UnavailableError."""
        self._library.call("ResetProfiler", self._profiler)
        self._library.call("StartProfiler", self._profiler)
        self._library.call(
            "RunCompiledModel",
            self._compiled,
            0,
            len(self._inputs),
            (ctypes.c_void_p * len(self._inputs))(*self._inputs),
            len(self._outputs),
            (ctypes.c_void_p * len(self._outputs))(*self._outputs),
        )
        events = (_RawEvent * self._library.count("GetNumProfilerEvents", self._profiler))()
        self._library.call("GetProfilerEvents", self._profiler, len(events), events)
        taken = [event for event in events if event.kind in set(StepKind)]
        return Profile(
            steps=tuple(Step(StepKind(event.kind), event.tag.decode(errors="replace"), event.node) for event in taken),
            times_s=tuple(event.elapsed_us * RESOLUTION_S for event in taken),
        )

    def close(self) -> None:
        """Free what the library holds."""
        while self._owned:
            kind, handle = self._owned.pop()
            self._library.call(f"Destroy{kind}", handle)

    def _own(self, kind: str, handle: ctypes.c_void_p) -> ctypes.c_void_p:
        self._owned.append((kind, handle))
        return handle

    def _load(self, kernels: Kernels, threads: int) -> None:
        library, made = self._library, self._library.made
        self._model = self._own("Model", made("CreateModelFromBuffer", self._environment, self._data, len(self._data)))
        options = self._own("Options", made("CreateOptions"))
        library.call("SetOptionsHardwareAccelerators", options, _CPU)
        library.add_options(options, "runtime_options_string", "enable_profiling = true\n")
        library.add_options(options, "xnnpack", f"kernel_mode = {_MODES[kernels]}\nnum_threads = {threads}\n")
        compiled = made("CreateCompiledModel", self._environment, self._model, options)
        self._compiled = self._own("CompiledModel", compiled)
        self._signature = made("GetModelSignature", self._model, 0)

    def _buffers(self, end: str) -> list[int]:
        made = self._library.made
        buffers = []
        for number in range(self._library.count(f"GetNumSignature{end}s", self._signature)):
            shape = ctypes.create_string_buffer(_TYPE_BYTES)
            self._library.call("GetRankedTensorType", self._tensor(end, number), shape)
            needs = made(f"GetCompiledModel{end}BufferRequirements", self._compiled, 0, number)
            buffer = made("CreateManagedTensorBufferFromRequirements", self._environment, shape, needs)
            buffers.append(int(self._own("TensorBuffer", buffer).value or 0))
        return buffers

    def _tensor(self, end: str, number: int) -> ctypes.c_void_p:
        return self._library.made(f"GetSignature{end}TensorByIndex", self._signature, number)

    def _fill(self, fills: Mapping[str, Array]) -> None:
        for number, buffer in enumerate(self._inputs):
            named = ctypes.c_char_p()
            self._library.call("GetTensorName", self._tensor("Input", number), ctypes.byref(named))
            name = (named.value or b"").decode(errors="replace")
            content = fills[name].tobytes() if name in fills else b""
            size = self._library.count("GetTensorBufferPackedSize", buffer)
            if size != len(content):
                raise UnavailableError(
                    "LiteRT's profiler could not be used", f"its input {name} takes {size} bytes, not {len(content)}"
                )
            self._write(buffer, content)

    def _write(self, buffer: int, content: bytes) -> None:
        place = ctypes.c_void_p()
        self._library.call("LockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
        assert place.value is not None
        ctypes.memmove(place.value, content, len(content))
        self._library.call("UnlockTensorBuffer", buffer)


class _RawEvent(ctypes.Structure):
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
    "GetProfilerEvents": (c_void_p, c_int, POINTER(_RawEvent)),
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


class _Library:
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
