"""Networks converted in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from making import IDENTITY

from edgebuild.actions.conversion import ARTIFACT, QuantizeJob
from edgebuild.actions.networks import SAVED_MODEL
from edgebuild.core.model import ModelSpec
from edgebuild.core.passes import Quantize
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.passes import quantize
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import Network

SPLIT = "split"


def converted(
    network: Network, samples: list[Any], settings: Quantize, folder: Path, *, sliced: tuple[str, ...] = ()
) -> Path:
    """The artifact of a network, left in a new folder; `samples`, an array for each input, calibrate it."""
    folder.mkdir()
    save(Examples(tuple(samples)), folder / SPLIT)
    frozen = freeze(network, folder, name="net", recurrent=settings.recurrent)
    quantize.run(job(frozen.network, settings, folder, folder, sliced=sliced), lambda _: None)
    return folder / ARTIFACT


def job(
    network: ModelSpec, settings: Quantize, folder: Path, out: Path, *, sliced: tuple[str, ...] = ()
) -> QuantizeJob:
    """How the SavedModel in a folder, beside samples that calibrate it, is converted."""
    return QuantizeJob(
        saved_model=str(folder / SAVED_MODEL),
        calibration=str(folder / SPLIT),
        preprocess=IDENTITY,
        quantize=settings,
        network=network,
        out=str(out),
        sliced=sliced,
    )
