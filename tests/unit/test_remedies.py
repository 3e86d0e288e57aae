"""Remedies of requests that cannot work: whoever follows one, word for word, has a plan."""

from __future__ import annotations

import re
from typing import Any

import pytest
from making import ACCURACY, DATA, MODEL, settings

from edgebuild import targets
from edgebuild.core.plan import Source
from edgebuild.errors import UsageError
from edgebuild.layering import Layer
from edgebuild.plan import plan

TARGETS = ("arm64", "mcu", "edgetpu", "ethos-u55-128", "raspberry-pi-pico", "raspberry-pi-5")
SCHEMES = ("int8", "int16x8", "float16", "dynamic", "float32")
PASSES = (
    {},
    {"qat": {}},
    {"cluster": {}},
    {"qat": {}, "cluster": {}},
    {"quantize": {"float_layers": ["dense"]}},
    {"quantize": {"float_layers": ["dense"]}, "qat": {}},
    {"quantize": {"float_layers": ["dense"]}, "cluster": {}},
)


def _refusal(name: str, passes: dict[str, Any], source: Source | None, **fields: Any) -> UsageError | None:
    target = targets.load(name, ACCURACY, [Layer("test", {"passes": passes})]).target
    try:
        plan(target, settings(**fields), MODEL, source)
    except UsageError as error:
        return error
    return None


def _with(passes: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**passes, key: {**passes[key], **value} if isinstance(value, dict) and key in passes else value}


def _ways(remedy: str, passes: dict[str, Any]) -> list[dict[str, Any]]:
    """The passes as each alternative of a remedy changes them."""
    ways = []
    for words in re.findall(r"--quantize ([\w]+(?: or [\w]+)*)", remedy):
        ways += [_with(passes, "quantize", {"scheme": scheme}) for scheme in words.split(" or ")]
    off = re.findall(r"--set passes\.(\w+)=off", remedy)
    if off:
        ways.append({**passes, **dict.fromkeys(off, "off")})
    if "float_layers empty" in remedy:
        ways.append(_with(passes, "quantize", {"float_layers": []}))
    return ways


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("source", [DATA, None], ids=["data", "no data"])
def test_each_way_out_that_a_remedy_names_is_one(name: str, source: Source | None) -> None:
    refused = 0
    for scheme in SCHEMES:
        for extra in PASSES:
            passes = _with(extra, "quantize", {"scheme": scheme})
            error = _refusal(name, passes, source)
            if error is None:
                continue
            refused += 1
            ways = [_refusal(name, way, source) for way in _ways(error.remedy, passes)]
            if "--data" in error.remedy:
                ways.append(_refusal(name, passes, DATA))
            if "--set data.synthesize=true" in error.remedy:
                ways.append(_refusal(name, passes, source, data={"synthesize": True}))
            assert ways, f"{error.what}: {error.remedy}"
            # What was wrong is right then; what else may be wrong has a remedy of its own.
            assert not any(way is not None and way.what == error.what for way in ways), f"{error.what}: {error.remedy}"
    assert refused
