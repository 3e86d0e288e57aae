"""The cores that can be emulated, and the files by which a guest takes itself to run on one.

LiteRT chooses its kernels by what /proc/cpuinfo and /sys say of the processor, and ends with SIGSEGV where they speak
of another kind. QEMU passes both through from the host, unless the folder that stands before the guest's root has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_ARM = 0x41
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_FEATURES_V8_2 = f"{_FEATURES} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


class Core(NamedTuple):
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


KIB = 1024
CORES = {
    "cortex-a53": Core(0xD03, 0, 4, _FEATURES, 32 * KIB, 512 * KIB),
    "cortex-a72": Core(0xD08, 0, 3, _FEATURES, 32 * KIB, 1024 * KIB),
    "cortex-a76": Core(0xD0B, 4, 1, _FEATURES_V8_2, 64 * KIB, 512 * KIB),
    "neoverse-n1": Core(0xD0C, 4, 1, _FEATURES_V8_2, 64 * KIB, 1024 * KIB),
}


def write(core: Core, root: Path) -> None:
    """Write the files of a machine with one such core under `root`, which stands before the guest's root."""
    for name, text in _files(core).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def _files(core: Core) -> dict[str, str]:
    system = "sys/devices/system/cpu"
    first = f"{system}/cpu0"
    files = {f"{system}/{name}": "0" for name in ("possible", "present", "online", "kernel_max")}
    files |= {f"{first}/topology/{name}": "0" for name in ("physical_package_id", "core_id")}
    files |= {f"{first}/topology/{name}": "0" for name in ("core_siblings_list", "cluster_cpus_list")}
    caches = (("1", "Data", core.l1_bytes), ("1", "Instruction", core.l1_bytes), ("2", "Unified", core.l2_bytes))
    for index, (level, kind, size) in enumerate(caches):
        cache = f"{first}/cache/index{index}"
        values = {"level": level, "type": kind, "size": f"{size // KIB}K", "shared_cpu_list": "0"}
        files |= {f"{cache}/{name}": value for name, value in values.items()}
    return {"proc/cpuinfo": _cpu_info(core), **files}


def _cpu_info(core: Core) -> str:
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
