"""What two calls of edgebuild that time on this machine at the same moment do to each other's latencies.

    ./tools/run python tools/benchmarks/shared_timer.py ARTIFACT [--rounds N] [--time TIME]

Each round times the artifact once alone, then in two calls that start together, each with a store of its own. Whoever
holds the machine's timer measures alone, so that the second call waits for the first. Prints Markdown: medians of the
rounds, and the ratio of those taken together to those taken alone, with the least and the largest round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from edgebuild import host


class Round(NamedTuple):
    """Median latencies in seconds: alone, and of both calls that started together."""

    alone_s: float
    together_s: tuple[float, float]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of those taken together to that taken alone."""
        return tuple(latency_s / self.alone_s for latency_s in self.together_s)


def main() -> None:
    """Time in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time", default="10 s", help="what one measurement may take")
    arguments = parser.parse_args()
    rounds = [_round(arguments.artifact, arguments.time) for _ in range(arguments.rounds)]
    ratios = [ratio for each in rounds for ratio in each.ratios]
    alone = statistics.median(each.alone_s for each in rounds)
    together = statistics.median(latency_s for each in rounds for latency_s in each.together_s)
    print(f"Host: {host.describe()}; ai-edge-litert {version('ai-edge-litert')}; {len(rounds)} rounds, in turn.\n")
    print("| timed | median latency |\n| --- | ---: |")
    print(f"| alone | {1e6 * alone:.1f} us |\n| two calls at once | {1e6 * together:.1f} us |\n")
    print(
        f"Together to alone, round by round: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})."
    )


def _round(artifact: Path, time: str) -> Round:
    alone_s = _latency_s(artifact, time)
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: _latency_s(artifact, time), range(2))
    return Round(alone_s, (first, second))


def _latency_s(artifact: Path, time: str) -> float:
    """The median of one call, in a process and a store of its own."""
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "EDGEBUILD_STORE": store, "EDGEBUILD_HISTORY": "off"}
        command = [sys.executable, "-m", "edgebuild", "bench", str(artifact), "--json", "--set", f"bench.time={time}"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    document = json.loads(ran.stdout)
    (benched,) = document if isinstance(document, list) else [document]
    found = next(item for item in benched["measurements"] if item["subject"] == "latency")
    return float(found["value"])


if __name__ == "__main__":
    main()
