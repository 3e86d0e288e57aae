"""`python -m edgebuild` and the `edgebuild` command."""

from __future__ import annotations

import sys

from edgebuild.cli import run


def main() -> None:
    """Run the command with the process's arguments and end with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
