"""The page of programs, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core.manifest import Manifest
from edgebuild.core.model import UNKNOWN_RUNTIME, version_key
from edgebuild.core.target import Compiler
from edgebuild.report import card
from edgebuild.report.integration import cpp, kotlin, python, swift
from edgebuild.report.integration.facts import Facts, facts

NAME = "integration.md"
_STREAMS = (
    "State is carried over from one call to the next, as in the network: feed the pieces of a stream in their order, "
    "and begin a new stream with a new interpreter."
)
_RESETS = "The file keeps state from one inference to the next: the programs reset it before each independent input."


def of_build(manifest: Manifest) -> str | None:
    """The page of an artifact that apps run; None for firmware, and for types that not all the languages have."""
    if manifest.plan.runtime.name.is_micro:
        return None
    known = facts(manifest)
    if not known.are_known:
        return None
    return "\n\n".join(_parts(manifest, known)) + "\n"


def _parts(manifest: Manifest, known: Facts) -> Iterator[str]:
    yield f"# {known.file} in an app"
    yield "\n".join(card.use(manifest)).strip()
    yield (
        "The programs take the values of the data, one sample at a time, and do the rest: normalization, quantization "
        "and its inverse. Inputs and outputs are numbered in the order above."
    )
    if known.resets or known.streams:
        yield _STREAMS if known.streams else _RESETS
    accelerator = manifest.plan.accelerator
    own = _OF_COMPILERS.get(accelerator.compiler) if accelerator is not None else None
    if own is not None:
        yield from own(manifest, known)
        return
    yield from _android(known)
    yield from _ios(manifest, known)
    yield "## Python"
    yield "`pip install ai-edge-litert numpy`"
    yield _code("python", python.program(known))
    yield "## C++"
    yield "The C API of LiteRT (`tensorflow/lite/c/c_api.h`, library `tensorflowlite_c`)."
    yield _code("cpp", cpp.program(known))


def _android(known: Facts) -> Iterator[str]:
    yield "## Android (Kotlin)"
    yield (
        f"Put `{known.file}` into `app/src/main/assets/`. The libraries of LiteRT {kotlin.VERSION} are aligned to "
        "16 KB pages, as Google Play asks of apps for Android 15 and newer; the Android Gradle plugin packs "
        "them so from 8.5.1 on. LiteRT 2.x has no `Interpreter` class: stay with 1.4."
    )
    yield _code("kotlin", kotlin.gradle(known))
    yield _code("kotlin", kotlin.program(known))


def _ios(manifest: Manifest, known: Facts) -> Iterator[str]:
    yield "## iOS (Swift)"
    yield (
        f"Add `{known.file}` to the app's target (Copy Bundle Resources). Google publishes TensorFlow Lite as a pod, "
        "not as a Swift package."
    )
    needed = _runtime(manifest)
    if not needed:
        yield "The oldest runtime that this file needs is not published: try it on the pod's before you rely on it."
    elif version_key(needed) > version_key(swift.VERSION):
        yield f"**The pod is too old:** the file needs runtime {needed}, the newest pod is {swift.VERSION}."
    yield _code("ruby", swift.podfile())
    yield _code("swift", swift.program(known))


def _runtime(manifest: Manifest) -> str:
    """The oldest runtime that knows all operators of the file; empty where that is not published of all."""
    versions = [operator.runtime for operator in manifest.network.operators]
    if any(version in ("", UNKNOWN_RUNTIME) for version in versions):
        return ""
    return max(versions, key=version_key, default="")


def _edgetpu(manifest: Manifest, known: Facts) -> Iterator[str]:
    compiled = next((item.path for item in manifest.files if item.path.endswith("_edgetpu.tflite")), "")
    file = compiled or f"{known.file.removesuffix('.tflite')}_edgetpu.tflite"
    yield "## Python"
    before = "" if compiled else f"Compile it first: `edgetpu_compiler {known.file}` writes `{file}`. "
    yield f"{before}The device needs Coral's `libedgetpu1-std`, and `pip install ai-edge-litert numpy`."
    delegate = 'Interpreter(\n    model_path="{}", experimental_delegates=[load_delegate("libedgetpu.so.1")]\n)'
    program = python.program(known)
    program = program.replace(f'Interpreter(model_path="{known.file}")', delegate.format(file))
    yield _code("python", program.replace("import Interpreter\n", "import Interpreter, load_delegate\n"))


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}```"


# Of accelerators that a program must ask for by name.
_OF_COMPILERS = {str(Compiler.EDGETPU): _edgetpu}
