"""The machine that a guest finds itself on: its files, its environment, and the command that starts it.

Everything that the guest can see has the same name in each run: a count depends on where things lie in memory, and that
on the lengths of paths, the environment and the numbers that the system hands out.

LiteRT chooses its kernels by what /proc/cpuinfo and /sys say of the processor, and ends with SIGSEGV where they speak
of another kind. QEMU passes both through from the host, unless the folder that stands before the guest's root has them.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgebuild.runtimes.arm64.emulator import Emulator

COUNTS_BYTES = 4096
# How many processes can count at a time: each has a start and an end of eight bytes.
COUNTERS = COUNTS_BYTES // 16
_PROGRAMS = (Path(__file__).with_name("guest.py"), Path(__file__).parents[1] / "places" / "runner.py")
# Inside the guest.
_HOME = "/run/edgebuild"
_PREFIX = "guest"
_PLUGIN = "count.so"
COUNTS = "counts"
# What the host would otherwise show through: the libraries that its loader knows or preloads.
_LOADER = ("etc/ld.so.cache", "etc/ld.so.preload")
_ADDR_NO_RANDOMIZE = 0x0040000
_ASK = 0xFFFFFFFF
_ARM = 0x41
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_FEATURES_V8_2 = f"{_FEATURES} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
_KIB = 1024


def make(emulator: Emulator, core: str, plugin: Path, folder: Path) -> None:
    """Lay out a machine in an empty folder: the root with the core's files before it, the programs, the counts."""
    prefix = folder / _PREFIX
    write_core(CORES[core], prefix)
    for path in emulator.root.iterdir():
        if path.name not in ("proc", "sys", "run", "etc"):
            (prefix / path.name).symlink_to(path)
    (prefix / "etc").mkdir()
    for path in (emulator.root / "etc").glob("*"):
        (prefix / "etc" / path.name).symlink_to(path)
    for name in _LOADER:
        if not (prefix / name).exists():
            (prefix / name).touch()
    home = prefix / _HOME.lstrip("/")
    home.mkdir(parents=True)
    for program in _PROGRAMS:
        (home / program.name).write_bytes(program.read_bytes())
    (folder / _PLUGIN).symlink_to(plugin)
    with (folder / COUNTS).open("wb") as counts:
        counts.truncate(COUNTS_BYTES)


def admit(artifact: Path, slot: int, folder: Path) -> str:
    """Let the guest see an artifact; its path there."""
    name = f"{_HOME}/artifact{slot:03}.tflite"
    link = folder / _PREFIX / name.lstrip("/")
    link.unlink(missing_ok=True)
    link.symlink_to(artifact.absolute())
    return name


def command(emulator: Emulator, core: str, socket: int, *, keeps_compiled: bool) -> list[str]:
    """The command that starts the guest, in the folder of its machine."""
    python = f"{_PREFIX}{emulator.python}"
    environment = {
        "PYTHONHOME": str(Path(emulator.python).parent.parent),
        "PYTHONPATH": emulator.packages,
        # The order of sets and dictionaries decides how long a look-up takes.
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC0",
        "OPENBLAS_NUM_THREADS": "1",
    }
    settings = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
    return [
        *(str(emulator.qemu), "-cpu", core, "-plugin", f"./{_PLUGIN},counts={COUNTS}"),
        *("-L", _PREFIX, "-U", "LD_LIBRARY_PATH", *settings, "-0", emulator.python, python),
        *([] if keeps_compiled else ["-B"]),
        *("-s", f"{_HOME}/{_PROGRAMS[0].name}", str(socket), COUNTS),
    ]


@contextlib.contextmanager
def steady_addresses() -> Iterator[None]:
    """While this lasts, processes that are started find their memory at the same addresses each time.

    Containers may forbid it; then counts differ by some 0.002 % from run to run.
    """
    if sys.platform != "linux":
        yield
        return
    personality = ctypes.CDLL(None, use_errno=True).personality
    before = personality(_ASK)
    allowed = before != -1 and personality(before | _ADDR_NO_RANDOMIZE) != -1
    try:
        yield
    finally:
        if allowed:
            personality(before)


class _Core(NamedTuple):
    """A processor core by Arm.

    Attributes:
        part: its part number, variant and revision as in its main identification register (MIDR_EL1), as QEMU has them.
        variant, revision: as above.
        features: as Linux names them.
        l1_bytes: of each first-level cache.
        l2_bytes: of the second-level cache, as chips with this core have it most.
    """

    part: int
    variant: int
    revision: int
    features: str
    l1_bytes: int
    l2_bytes: int


CORES = {
    "cortex-a53": _Core(0xD03, 0, 4, _FEATURES, 32 * _KIB, 512 * _KIB),
    "cortex-a72": _Core(0xD08, 0, 3, _FEATURES, 32 * _KIB, 1024 * _KIB),
    "cortex-a76": _Core(0xD0B, 4, 1, _FEATURES_V8_2, 64 * _KIB, 512 * _KIB),
    "neoverse-n1": _Core(0xD0C, 4, 1, _FEATURES_V8_2, 64 * _KIB, 1024 * _KIB),
}


def write_core(core: _Core, root: Path) -> None:
    """Write the files of a machine with one such core under `root`, which stands before the guest's root."""
    for name, text in _files(core).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def _files(core: _Core) -> dict[str, str]:
    system = "sys/devices/system/cpu"
    first = f"{system}/cpu0"
    files = {f"{system}/{name}": "0" for name in ("possible", "present", "online", "kernel_max")}
    files |= {f"{first}/topology/{name}": "0" for name in ("physical_package_id", "core_id")}
    files |= {f"{first}/topology/{name}": "0" for name in ("core_siblings_list", "cluster_cpus_list")}
    caches = (("1", "Data", core.l1_bytes), ("1", "Instruction", core.l1_bytes), ("2", "Unified", core.l2_bytes))
    for index, (level, kind, size) in enumerate(caches):
        cache = f"{first}/cache/index{index}"
        values = {"level": level, "type": kind, "size": f"{size // _KIB}K", "shared_cpu_list": "0"}
        files |= {f"{cache}/{name}": value for name, value in values.items()}
    return {"proc/cpuinfo": _cpu_info(core), **files}


def _cpu_info(core: _Core) -> str:
    lines = {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": core.features,
        "CPU implementer": f"0x{_ARM:02x}",
        "CPU architecture": "8",
        "CPU variant": f"0x{core.variant:x}",
        "CPU part": f"0x{core.part:03x}",
        "CPU revision": str(core.revision),
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items())
