"""Write the JSON Schema of manifest.json from the types that it is made of.

    ./tools/run python tools/write_schema.py [--check]

With --check nothing is written, and the exit code is 1 where the committed schema is not the one the types give.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from edgebuild.core.manifest import SCHEMA_VERSION, Manifest

_SCHEMA = Path(__file__).parent.parent / "edgebuild" / "schemas" / f"manifest-{SCHEMA_VERSION}.json"


def main() -> int:
    """Write or compare the schema."""
    text = msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Manifest)), indent=2).decode() + "\n"
    if "--check" not in sys.argv[1:]:
        _SCHEMA.parent.mkdir(exist_ok=True)
        _SCHEMA.write_text(text)
        return 0
    if _SCHEMA.is_file() and _SCHEMA.read_text() == text:
        print(f"{_SCHEMA.name} is what the types give")
        return 0
    print(f"{_SCHEMA.name} is out of date: ./tools/run python tools/write_schema.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
