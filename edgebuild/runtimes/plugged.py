"""What plug-ins do in children: compilers of accelerators."""

from __future__ import annotations

from pathlib import Path

from edgebuild import plugins
from edgebuild.actions.runtimes import CompileJob
from edgebuild.child import Say
from edgebuild.core.budget import Subject
from edgebuild.core.device import Compiled
from edgebuild.core.target import Accelerator
from edgebuild.flatbuffer import reader
from edgebuild.plugins import Group


def compile_(job: CompileJob, _: Say) -> Compiled:
    """Compile with a plug-in.

    Raises:
        UnavailableError: its compiler is not installed.
        StepError: it refused the artifact, failed, or returned what cannot be used.
    """
    plugin, artifact, out = job.accelerator.plugin, Path(job.artifact), Path(job.out)
    assert plugin is not None, "the engine sends built-in compilers elsewhere"
    found = plugins.call(Group.COMPILERS, plugin, artifact, job.accelerator, out)
    problem = misfit(found, job.accelerator, artifact, out)
    if problem:
        raise plugins.refused(Group.COMPILERS, plugin, problem)
    assert isinstance(found, Compiled), "nothing else fits"
    return found


def misfit(found: object, accelerator: Accelerator, artifact: Path, out: Path) -> str:
    """Why what a compiler returned cannot be used, as the end of a sentence; empty where it can."""
    if not isinstance(found, Compiled):
        return f"{type(found).__name__}, not an edgebuild.core.device.Compiled"
    count = len(reader.read(artifact).operators)
    if found.mapping.operators != count:
        return f"a mapping of {found.mapping.operators} operators, and the file has {count}"
    if found.compiled and (Path(found.compiled).name != found.compiled or not (out / found.compiled).is_file()):
        return f"the name of a file, {found.compiled!r}, that is not in the folder"
    for subject, value in ((Subject.NPU_LATENCY, found.inference_s), (Subject.NPU_SRAM, found.sram_bytes)):
        if (value is not None) != (subject in accelerator.tells):
            says = "no" if value is None else "a value for"
            return f"{says} {subject}, against what its `tells` says"
    return ""
