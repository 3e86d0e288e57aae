"""Plug-ins: what other packages add to edgebuild, and how they are found.

A package names an object of one of the types below in an entry point group, such as `edgebuild.metrics`; the name of
the entry point is the name that users write. Groups are read only where a name is none of the built-in ones, since to
read them takes time. The module that an entry point names is imported by edgebuild's own process, so it must import
nothing that is heavy: the work is done by a function that `run` names, in a child process.
"""

from edgebuild.plugins.finding import (
    Found,
    built_in,
    call,
    find,
    function,
    guarded,
    installed,
    metric,
    names,
    offer,
    place,
    refused,
    require,
    require_each,
)
from edgebuild.plugins.offers import (
    CompilerPlugin,
    DevicePlugin,
    Group,
    ImporterPlugin,
    MetricPlugin,
    PassPlugin,
    ReportPlugin,
    misfit,
)

__all__ = [
    "CompilerPlugin",
    "DevicePlugin",
    "Found",
    "Group",
    "ImporterPlugin",
    "MetricPlugin",
    "PassPlugin",
    "ReportPlugin",
    "built_in",
    "call",
    "find",
    "function",
    "guarded",
    "installed",
    "metric",
    "misfit",
    "names",
    "offer",
    "place",
    "refused",
    "require",
    "require_each",
]
