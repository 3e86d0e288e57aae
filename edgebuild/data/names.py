"""Names of inputs as parameters of a signature: what a network calls them may be no identifier."""

from __future__ import annotations

import keyword
import re


def identifier(name: str) -> str:
    """A name that Python takes for a parameter, as a signature needs it."""
    word = re.sub(r"\W", "_", name)
    if keyword.iskeyword(word):
        return f"{word}_"
    # TensorFlow saves no signature of several inputs one of whose names begins with an underscore.
    return word if word[:1].isidentifier() and word[:1] != "_" else f"x{word}"
