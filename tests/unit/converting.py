"""Networks converted in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from making import IDENTITY

from edgebuild.core.passes import Quantize
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.passes import quantize
from edgebuild.passes.freeze import freeze
from edgebuild.passes.jobs import ARTIFACT, SAVED_MODEL, QuantizeJob
from edgebuild.passes.loading import Network


def converted(network: Network, samples: list[Any], settings: Quantize, folder: Path) -> Path:
    """The artifact of a network, left in a new folder; `samples`, an array for each input, calibrate it."""
    folder.mkdir()
    save(Examples(tuple(samples)), folder / "split")
    frozen = freeze(network, folder, name="net", recurrent=settings.recurrent)
    quantize.run(
        QuantizeJob(
            saved_model=str(folder / SAVED_MODEL),
            calibration=str(folder / "split"),
            preprocess=IDENTITY,
            quantize=settings,
            network=frozen.network,
            out=str(folder),
        ),
        lambda _: None,
    )
    return folder / ARTIFACT
