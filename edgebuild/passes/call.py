"""A network that a function of the user's returns: called once, and written in all forms that a build goes on with."""

from __future__ import annotations

from pathlib import Path

from edgebuild.actions.networks import Called, CallJob
from edgebuild.child import Say
from edgebuild.errors import StepError
from edgebuild.passes import carry
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import load
from edgebuild.passes.static_shapes import Wanted


def run(job: CallJob, say: Say) -> Called:
    """Call the function, and write what it returns as SAVED_MODEL and, where that can be, as NETWORK.

    Raises:
        UsageError: there is no such function.
        StepError: it fails, or returns no network, or one that cannot be called with static shapes.
    """
    network = load(job.kind, job.path, signature=job.signature, allow_code=job.allow_code)
    say("fixing the batch at 1")
    wanted = Wanted(job.input_shape, job.input_shapes, job.data_shapes)
    frozen = freeze(network, Path(job.out), name=job.path, wanted=wanted, recurrent=job.recurrent)
    say("writing it with its layers")
    try:
        return Called(frozen=frozen, carried=carry.write(network, job))
    except StepError as error:
        return Called(frozen=frozen, failure=(error.what, error.why, error.remedy))
