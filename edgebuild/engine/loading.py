"""The user's network, loaded: as it computes, and with the layers that passes change."""

from __future__ import annotations

from typing import NamedTuple

from edgebuild import hashing
from edgebuild.actions.networks import IMPORT, NETWORK, SAVED_MODEL, Called, Carried, ImportJob
from edgebuild.core.action import Ref
from edgebuild.core.plan import Plan, Source
from edgebuild.core.plugin import Plugin
from edgebuild.engine import asking
from edgebuild.engine.material import Network
from edgebuild.errors import StepError
from edgebuild.execution.session import Done, Session


class Loaded(NamedTuple):
    """A network as its user gave it.

    Attributes:
        model: where it comes from.
        file: what is loaded: the same, or what the importer of a plug-in made of it.
        network: the same, frozen.
        called: what the function of the user's left that returned it, which is called once for a build: it may return
            another network each time. None for a file.
    """

    model: Source
    file: Source
    network: Network
    called: Done[Called] | None = None


class Layered(NamedTuple):
    """A network that passes can change: its file, and its layers."""

    ref: Ref
    carried: Carried


def load(plan: Plan, model: Source, session: Session) -> Loaded:
    """Load the network and fix its shapes.

    Raises:
        EdgebuildError: it cannot be loaded, or cannot be called with static shapes.
    """
    if model.kind != "callable":
        file = imported(model, model.plugin, session) if model.plugin is not None else model
        return Loaded(model, file, _of_file(plan, file, session))
    called = session.run(asking.call(plan, model, session))
    frozen = called.result.frozen
    return Loaded(model, model, Network(frozen, called.ref(SAVED_MODEL, frozen.identity_sha256)), called)


def imported(model: Source, plugin: Plugin, session: Session) -> Source:
    """What the importer of a plug-in makes of a network, as a file or a folder that is loaded like a user's.

    Raises:
        EdgebuildError: it failed, or left no network.
    """
    path = str(session.give(model)) if model.sha256 else model.path
    made = session.run(IMPORT.action(ImportJob(path=path, plugin=plugin)))
    place = session.path(made.ref(made.result.path))
    return Source(kind=made.result.kind, path=str(place), sha256=hashing.of_tree(place))


def with_layers(plan: Plan, loaded: Loaded, session: Session) -> Layered:
    """The network as passes can change it.

    Raises:
        StepError: it has no layers that they know.
    """
    if loaded.called is None:
        made = session.run(asking.carry(plan, loaded.file, session))
        return Layered(made.ref(NETWORK, made.result.identity_sha256), made.result)
    carried = loaded.called.result.carried
    if carried is None:
        raise StepError(*loaded.called.result.failure)
    return Layered(loaded.called.ref(NETWORK, carried.identity_sha256), carried)


def as_planned(plan: Plan, loaded: Loaded, session: Session) -> Network:
    """The network with its recurrent layers as a plan has them.

    Raises:
        StepError: they cannot be written so.
    """
    if loaded.called is None:
        return _of_file(plan, loaded.file, session)
    return frozen(plan, with_layers(plan, loaded, session).ref, session)


def frozen(plan: Plan, network: Ref, session: Session) -> Network:
    """A network that passes can change, its shapes fixed."""
    made = session.run(asking.freeze_changed(plan, network))
    return Network(made.result, made.ref(SAVED_MODEL, made.result.identity_sha256))


def _of_file(plan: Plan, model: Source, session: Session) -> Network:
    made = session.run(asking.freeze(plan, model, session))
    # With the digest of its files: they may hold what the identity of the network does not see.
    identity = hashing.of_data([model.sha256, made.result.identity_sha256])
    return Network(made.result, made.ref(SAVED_MODEL, identity))
