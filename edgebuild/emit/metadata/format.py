"""What TFLite metadata are called, and how their tables are laid out."""

from __future__ import annotations

from pathlib import Path

LAYOUT = Path(__file__).parent / "metadata_schema.toml"
ROOT = "ModelMetadata"
IDENTIFIER = b"M001"
