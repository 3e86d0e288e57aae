"""What a target's developer gets: the artifact, the accelerator's file, sources for firmware, and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from edgebuild import hashing, readback
from edgebuild.actions.conversion import FIRMWARE, FirmwareJob, Sources
from edgebuild.core.action import Action
from edgebuild.core.delivery import Layout, PackedFile
from edgebuild.core.manifest import Manifest
from edgebuild.core.plan import Plan
from edgebuild.execution.session import Session
from edgebuild.flatbuffer import reader
from edgebuild.pipeline.artifacts import Built
from edgebuild.pipeline.devices import Answered
from edgebuild.pipeline.prepare import Shared
from edgebuild.report import card
from edgebuild.report.integration import page

CARD = "model_card.md"
_FIRMWARE = "firmware"


class Handed(NamedTuple):
    """All files but the card by path beside the manifest, the artifact first.

    `flash_bytes` are constants of the firmware as linked; None where the target has none.
    """

    files: Mapping[str, bytes]
    flash_bytes: int | None


def gather(built: Built, answered: Answered, shared: Shared, session: Session) -> Handed:
    """The artifact and what comes with it.

    Raises:
        EdgebuildError: the firmware's library has no such operator, or its language no such type.
    """
    plan = built.plan
    files = {f"{plan.name}.tflite": session.path(built.ref).read_bytes()}
    if answered.compiled is not None:
        compiled = session.path(answered.compiled)
        files[f"{plan.name}_{compiled.stem.rpartition('_')[2]}{compiled.suffix}"] = compiled.read_bytes()
    if not plan.runtime.name.is_micro:
        return Handed(files, None)
    made = session.run(_firmware(built, answered, shared, session))
    folder = session.path(made.ref())
    files |= {f"{_FIRMWARE}/{path}": (folder / path).read_bytes() for path in made.result.paths}
    return Handed(files, made.result.flash_bytes)


def _firmware(built: Built, answered: Answered, shared: Shared, session: Session) -> Action[Sources]:
    """Sources around the artifact, or the accelerator's file where there is one."""
    plan, arena = built.plan, answered.report.arena
    labels = shared.data.splits.labels if shared.data is not None else ()
    labelled = built.spec.outputs[plan.metric.output].name if labels else ""
    arena_bytes = arena.required_bytes if arena is not None else None
    # A compiler's file has the ends of the artifact that it compiled, in the same order.
    file = reader.read(session.path(built.ref))
    inputs = readback.names_in_file(file.inputs, built.spec.inputs)
    outputs = readback.names_in_file(file.outputs, built.spec.outputs)
    job = FirmwareJob(
        name=plan.name,
        artifact=str(answered.compiled or built.ref),
        inputs=inputs,
        outputs=outputs,
        arena_bytes=arena_bytes,
        arena_margin=plan.delivery.arena_margin,
        preprocess=plan.preprocess,
        labels=labels,
        labelled=labelled,
        vector=answered.vector,
        layout=_layout(plan),
        streams=bool(built.network.streams),
    )
    return FIRMWARE.action(job, of=plan.target)


def _layout(plan: Plan) -> Layout:
    """Sources are for the API of TensorFlow Lite Micro: other runtimes generate their own from the artifact."""
    return plan.delivery.firmware if plan.runtime.name.is_tflm else Layout.OFF


def with_card(manifest: Manifest, files: Mapping[str, bytes]) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with a list of all files beside it but the artifact, and those files with card and programs."""
    listed = _listed(manifest, files)
    if not manifest.plan.delivery.card:
        return listed, dict(files)
    programs = page.of_build(listed)
    whole = {**files, **({page.NAME: programs.encode()} if programs is not None else {})}
    whole[CARD] = card.of_build(_listed(manifest, whole)).encode()
    return _listed(manifest, whole), whole


def _listed(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    beside = tuple(
        PackedFile(path=path, sha256=hashing.of_bytes(data), size_bytes=len(data))
        for path, data in files.items()
        if path != manifest.artifact.path
    )
    return msgspec.structs.replace(manifest, files=beside)
