"""What a strategy is: it proposes plans, sees what became of each, and stops. Pure: it starts nothing itself.

What pursues one (`pipeline.pursue`) builds what it proposes, evaluates it as far as its accuracy tells, shows it, and
asks again. In the end the strategy ranks what it has seen; the first that its target takes in all ways is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edgebuild.core.manifest import Manifest
from edgebuild.core.plan import Plan


class Proposal(NamedTuple):
    """A plan to try.

    Attributes:
        name: says what is new about it; no two of a strategy share one.
        plan: the plan.
        why: it is tried, in a few words for people.
    """

    name: str
    plan: Plan
    why: str = ""


class Candidate(NamedTuple):
    """What became of a plan.

    Attributes:
        name: of its proposal.
        plan: what was asked for.
        manifest: all that is known of the build; None where there is none, or none that is new.
    """

    name: str
    plan: Plan
    manifest: Manifest | None


class Strategy(Protocol):
    """Proposes plans for one target, after a build as planned."""

    def propose(self, seen: Sequence[Candidate]) -> Sequence[Proposal]:
        """What to try next.

        Args:
            seen: all candidates so far, in order; the first is the build as planned, which has a manifest.

        Returns:
            Plans that need not wait for one another; none where the strategy stops.
        """

    def ranked(self, seen: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates that may be left, the best first; the first of `seen` is left where none of them can be."""

    def ending(self, seen: Sequence[Candidate]) -> str:
        """Why it stopped, in a sentence for people; empty where there was nothing to propose in the first place."""
