"""Plugin: what another package brings into a build, as plans, actions and manifests hold it."""

from __future__ import annotations

import msgspec


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """Which code of which package does a part of a build.

    Attributes:
        name: that users write.
        package: the distribution that brings it.
        version: of that.
        offer: "module:object" that its entry point names.
        run: "module:function" that does the work, in a child.
        code: the digest of its code, and of the versions of the packages that it declares.
    """

    name: str
    package: str
    version: str
    offer: str
    run: str
    code: str

    @property
    def label(self) -> str:
        """For people: the name, and whose it is."""
        return f"{self.name} ({self.package} {self.version})"
