"""What of a process's log explains how it ended: libraries write hundreds of lines that do not."""

from __future__ import annotations

import re

_MOST = 6  # lines that explain
_MOST_OTHERS = 3  # of what is left where none is known to
_LONGEST = 400  # characters of one

# What writes such a line ends the process: a failed check of absl, an assertion in C, the C library's own heap checks,
# the C++ runtime, LLVM, Python.
_FATAL = re.compile(
    r"""F\d{4}\ \d\d:\d\d:\d\d            # glog: F0000 00:00:1234.5 file.cc:12] Check failed: ...
      | \d{4}-\d\d-\d\d\ [\d:.]+:\ F\     # TensorFlow's own: 2026-11-30 05:12:01.5: F tensorflow/...
      | .*\bCheck\ failed:
      | .*:\ Assertion\ [`'].*failed
      | (double\ free|free\(\)|munmap_chunk\(\)|malloc\(\)|realloc\(\)|corrupted\ |\*\*\*\ stack\ smashing)
      | terminate\ called | \s*what\(\):
      | LLVM\ ERROR: | Fatal\ Python\ error: | Segmentation\ fault | Killed | Out\ of\ memory
      | .*\b(std::bad_alloc|StackOverflow|stack\ overflow)\b
      | ERROR:\                           # LiteRT's reporter
    """,
    re.VERBOSE,
)
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)\b(: .*)?$")
# What TensorFlow, absl, XLA, Keras and LiteRT write in any run.
_NOISE = re.compile(
    r"""[IWE]\d{4}\ \d\d:\d\d:\d\d | \d{4}-\d\d-\d\d\ [\d:.]+:\ [IWE]\b
      | (WARNING|INFO|DEBUG|ERROR)\b | .*Warning: | \s*warnings\.warn | Instructions\ for\ updating
      | To\ enable\ the\ following\ instructions | .*\brebuild\ TensorFlow
      | Saved\ artifact\ at | \*\ Endpoint | (Output\ Type|Captures): | .*\bTensorSpec\( | fully_quantize:
      | (Estimated\ count\ of|Summary\ on)\b | .*\btf\.function\ retracing
    """,
    re.VERBOSE,
)


def explaining(log: str) -> str:
    """The lines of a log by which its process said why it ended; empty where it said nothing.

    Lines that are known to come with an end stand alone; where there are none, the last that are no warnings and no
    progress of libraries.
    """
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    found = _fatal(lines)
    if not found:
        found = [line for line in lines if not _NOISE.match(line.strip())][-_MOST_OTHERS:]
    return "\n".join(line.strip()[:_LONGEST] for line in found[-_MOST:])


def _fatal(lines: list[str]) -> list[str]:
    """Lines that come with an end, and of each traceback its exception."""
    found, inside = [], False
    for line in lines:
        if line.startswith(_TRACEBACK):
            inside = True
        elif inside and not line.startswith((" ", "\t")):
            inside = False
            if _EXCEPTION.match(line):
                found.append(line)
        elif _FATAL.match(line):
            found.append(line)
    return found
