"""The emulation of arm64 as far as nothing is emulated: packages, wheels, cores, and what is told where some lack."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from edgebuild import hashing
from edgebuild.core import place
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import apt, emulator, installing, machine
from edgebuild.runtimes.arm64.apt import Apt, Package
from edgebuild.runtimes.arm64.emulator import Emulator, Installed
from edgebuild.runtimes.arm64.launching import BrokenLimitError, Talk
from tests.conftest import PATIENCE_S

PRINTED = """\
'http://mirror/pool/q/qemu-user_7.2_amd64.deb' qemu-user_1%3a7.2+dfsg-7_amd64.deb 12251508 MD5Sum:5b6268
'http://mirror/pool/l/libssl3_3.0.deb' libssl3_3.0.22-1~deb12u2_arm64.deb 1829128\x20
'http://mirror/pool/m/media.deb' media-types_10.0.0_all.deb 26136 SHA256:90fd2a
Reading package lists...
"""
SHOWN = """\
Package: libssl3
Version: 3.0.22-1~deb12u2
Architecture: arm64
Tag: implemented-in::c,
 role::shared-lib
SHA256: 3d04ec

Package: media-types
Version: 10.0.0
Architecture: all
Description: a list: of types
SHA256: 90fd2a
"""
DUMPED = """\
Acquire::http::Proxy "http://proxy:3128/";
APT::Architecture "amd64";
APT::Architectures:: "amd64";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
Dir "/";
Dir::State "var/lib/apt";
Dir::Cache::archives "archives/";
Dir::Etc "etc/apt";
DPkg::Post-Invoke:: "touch /something";
"""


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for an installation that is not there, and nothing that the user names."""
    for variable in (emulator.QEMU_VARIABLE, emulator.ROOT_VARIABLE, apt.SOURCES_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(emulator.FOLDER_VARIABLE, str(tmp_path / "arm64"))
    return tmp_path / "arm64"


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _unheard(_: str) -> None:
    pass


def _needs_apt() -> None:
    if not all(map(shutil.which, ("apt-get", "apt-cache", "apt-config", "dpkg", "dpkg-deb"))):
        pytest.skip("this is no Debian or Ubuntu: there is no APT")


def test_the_core_max_is_refused_because_it_computes_wrong_results() -> None:
    with pytest.raises(ValueError, match=r"`max` computes wrong results with XNNPACK.*arm64:cortex-a53"):
        place.parse("arm64:max")
    with pytest.raises(ValueError, match="arm64 needs one of these cores"):
        place.parse("arm64:cortex-m4")


def test_every_core_that_may_be_named_has_its_files() -> None:
    assert set(machine.CORES) == set(place.CORES)
    assert all(place.parse(f"arm64:{core}").emulates for core in machine.CORES)


def test_a_core_shows_itself_as_linux_on_it_would(tmp_path: Path) -> None:
    for name, part in (("cortex-a53", "0xd03"), ("cortex-a72", "0xd08"), ("cortex-a76", "0xd0b")):
        machine.write_core(machine.CORES[name], tmp_path / name)
        shown = (tmp_path / name / "proc/cpuinfo").read_text()
        assert f"CPU part\t: {part}\n" in shown
        assert "CPU implementer\t: 0x41\n" in shown
        assert shown.count("processor") == 1
        assert ("asimddp" in shown) == (name == "cortex-a76")
        cpus = tmp_path / name / "sys/devices/system/cpu"
        assert [(cpus / file).read_text() for file in ("possible", "present", "online")] == ["0\n"] * 3
        assert (cpus / "cpu0/cache/index2/size").read_text().endswith("K\n")


def test_what_apt_would_download_is_read_off_what_it_prints() -> None:
    assert apt.packages(PRINTED) == [
        Package("qemu-user", "1:7.2+dfsg-7", "amd64", "qemu-user_1%3a7.2+dfsg-7_amd64.deb", 12251508),
        Package("libssl3", "3.0.22-1~deb12u2", "arm64", "libssl3_3.0.22-1~deb12u2_arm64.deb", 1829128),
        Package("media-types", "10.0.0", "all", "media-types_10.0.0_all.deb", 26136),
    ]
    specs = [package.spec for package in apt.packages(PRINTED)]
    assert specs == ["qemu-user:amd64=1:7.2+dfsg-7", "libssl3:arm64=3.0.22-1~deb12u2", "media-types=10.0.0"]


def test_the_digests_that_an_index_states_are_read_for_each_version() -> None:
    assert apt.stated(SHOWN) == {
        ("libssl3", "3.0.22-1~deb12u2", "arm64"): "3d04ec",
        ("media-types", "10.0.0", "all"): "90fd2a",
    }


def test_of_the_systems_apt_proxies_are_kept_and_neither_its_state_nor_its_hooks() -> None:
    assert list(apt.without_state(DUMPED)) == [
        'Acquire::http::Proxy "http://proxy:3128/";',
        'Dir "/";',
        'Dir::Etc "etc/apt";',
    ]


def test_an_archive_that_is_not_what_its_index_says_is_refused_and_deleted(tmp_path: Path) -> None:
    file = tmp_path / "libc6_2.36_arm64.deb"
    file.write_bytes(b"an archive")
    apt.verify(file, hashing.of_file(file))
    stated = hashing.of_file(file)
    file.write_bytes(b"an Archive")
    with pytest.raises(StepError, match=r"libc6_2\.36_arm64\.deb is not what its index says") as refused:
        apt.verify(file, stated)
    assert stated in refused.value.why
    assert not file.exists()
    with pytest.raises(StepError, match="was not downloaded"):
        apt.verify(file, stated)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package repository in a folder, of two packages of which one needs the other, named to APT."""
    _needs_apt()
    folder = tmp_path / "repository"
    folder.mkdir()
    stanzas = []
    for name, needs in (("tool", "Depends: library (>= 1)\n"), ("library", "")):
        made = tmp_path / name
        (made / "DEBIAN").mkdir(parents=True)
        (made / "usr").mkdir()
        (made / "usr" / name).write_text(f"this is {name}")
        control = f"Package: {name}\nVersion: 1:1.0\nArchitecture: arm64\nMaintainer: nobody\n{needs}Description: one\n"
        (made / "DEBIAN" / "control").write_text(control)
        archive = folder / f"{name}.deb"
        subprocess.run(["dpkg-deb", "-b", str(made), str(archive)], check=True, capture_output=True)
        size, digest = archive.stat().st_size, hashing.of_file(archive)
        stanzas.append(f"{control}Filename: ./{archive.name}\nSize: {size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(stanzas))
    sources = tmp_path / "test.list"
    sources.write_text(f"deb [trusted=yes] file:{folder} ./\n")
    monkeypatch.setenv(apt.SOURCES_VARIABLE, str(sources))
    return folder


def test_a_package_comes_with_what_it_needs_checked_and_unpacked_without_root(repository: Path, tmp_path: Path) -> None:
    found = Apt(tmp_path / "state", "arm64", onto_system=False)
    found.update()
    wanted = found.closure(["tool"])
    assert sorted(package.name for package in wanted) == ["library", "tool"]
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    digests = found.download(wanted, downloads)
    assert digests == {package.file: hashing.of_file(repository / f"{package.name}.deb") for package in wanted}
    root = tmp_path / "root"
    root.mkdir()
    apt.unpack((downloads / name for name in digests), root)
    assert (root / "usr" / "library").read_text() == "this is library"


def test_a_package_that_was_changed_behind_its_index_is_refused(repository: Path, tmp_path: Path) -> None:
    found = Apt(tmp_path / "state", "arm64", onto_system=False)
    found.update()
    wanted = found.closure(["library"])
    data = bytearray((repository / "library.deb").read_bytes())
    data[-1] ^= 1
    (repository / "library.deb").write_bytes(data)
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with pytest.raises(StepError, match=r"apt-get download failed|is not what its index says"):
        found.download(wanted, downloads)


def test_an_unknown_package_is_told_with_the_way_to_other_sources(repository: Path, tmp_path: Path) -> None:
    found = Apt(tmp_path / "state", "arm64", onto_system=False)
    found.update()
    with pytest.raises(StepError, match="have no qemu-user for arm64") as error:
        found.closure(["qemu-user"])
    assert "Unable to locate package qemu-user" in error.value.why
    assert apt.SOURCES_VARIABLE in error.value.remedy


def test_wheels_are_asked_for_up_to_the_guests_glibc() -> None:
    assert installing.platforms("2.36")[0] == "manylinux_2_36_aarch64"
    assert installing.platforms("2.36")[-2:] == ["manylinux_2_17_aarch64", "any"]
    assert "manylinux_2_28_aarch64" not in installing.platforms("2.27")


def test_without_apt_the_installation_names_the_way_for_other_systems(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="there is no apt-get here") as error:
        installing.install(_unheard)
    assert emulator.QEMU_VARIABLE in error.value.remedy
    assert emulator.ROOT_VARIABLE in error.value.remedy


def test_without_a_compiler_nothing_is_downloaded(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg", "dpkg-deb"):
        _script(tmp_path / tool, "touch $0.was-run")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="no C compiler") as error:
        installing.install(_unheard)
    assert "apt-get install gcc" in error.value.remedy
    assert not list(tmp_path.glob("*.was-run"))


def test_too_little_space_is_told_before_anything_is_downloaded(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _needs_apt()
    monkeypatch.setattr(installing, "_NEEDED_BYTES", 10**18)
    with pytest.raises(StepError, match="are needed") as error:
        installing.install(_unheard)
    assert emulator.FOLDER_VARIABLE in error.value.remedy


def test_an_installation_that_fails_leaves_nothing_and_clears_what_a_killed_one_left(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _needs_apt()
    sources = tmp_path / "empty.list"
    sources.write_text(f"deb [trusted=yes] file:{tmp_path}/nothing ./\n")
    monkeypatch.setenv(apt.SOURCES_VARIABLE, str(sources))
    left = nowhere / "making-1"
    left.mkdir(parents=True)
    with pytest.raises(StepError, match="have no qemu-user") as error:
        installing.install(_unheard)
    assert "nothing/./Packages  File not found" in error.value.why
    assert sorted(path.name for path in nowhere.iterdir()) == ["lock"]
    with pytest.raises(UnavailableError):
        emulator.find()


def test_where_nothing_is_installed_the_command_that_installs_is_named(nowhere: Path) -> None:
    with pytest.raises(UnavailableError, match="not installed") as error:
        emulator.find()
    assert error.value.remedy == "Install it: edgebuild doctor --install arm64"
    assert emulator.state() == ""


def _installed(folder: Path, **changes: object) -> None:
    made = folder / "installed"
    for file in ("root/usr/bin/python3.11", "host/qemu"):
        (made / file).parent.mkdir(parents=True)
        _script(made / file, "echo qemu-aarch64 version 8.2.2 \\(Debian\\)")
    values: dict[str, object] = {
        "format": emulator.FORMAT,
        "qemu": "host/qemu",
        "libraries": ("host/lib",),
        "python": "/usr/bin/python3.11",
        "litert": installing._own_litert(),
        "size_bytes": 1,
        "sha256": {},
    }
    emulator.write(made, Installed(**{**values, **changes}))  # type: ignore[arg-type]


def test_what_is_installed_is_found(nowhere: Path) -> None:
    _installed(nowhere)
    found = emulator.find()
    assert found.version == "8.2.2"
    assert found.root == nowhere / "installed" / "root"
    assert found.environment == {"LD_LIBRARY_PATH": str(nowhere / "installed/host/lib")}
    assert emulator.state() != ""


def test_an_installation_that_lost_files_counts_as_none(nowhere: Path) -> None:
    _installed(nowhere)
    (nowhere / "installed/host/qemu").unlink()
    with pytest.raises(UnavailableError, match="not installed"):
        emulator.find()


def test_an_installation_beside_another_litert_is_out_of_date(nowhere: Path) -> None:
    _installed(nowhere, litert="1.0.1")
    with pytest.raises(UnavailableError, match=r"installed with ai-edge-litert 1\.0\.1, here is") as error:
        emulator.find()
    assert "--install arm64" in error.value.remedy


def test_a_qemu_and_a_root_of_the_users_own_are_taken_where_both_are_named(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    qemu = _script(tmp_path / "my-qemu", "echo qemu-aarch64 version 9.1.0")
    root = tmp_path / "root"
    (root / "usr/local/bin").mkdir(parents=True)
    monkeypatch.setenv(emulator.QEMU_VARIABLE, str(qemu))
    with pytest.raises(UnavailableError, match="not installed"):
        emulator.find()
    monkeypatch.setenv(emulator.ROOT_VARIABLE, str(root))
    with pytest.raises(UnavailableError, match=r"has no python3"):
        emulator.find()
    (root / "usr/local/bin/python3.12").touch()
    (root / "usr/local/bin/python3.12-config").touch()
    found = emulator.find()
    assert (found.qemu, found.python, found.version) == (qemu, "/usr/local/bin/python3.12", "9.1.0")
    assert found.environment == {}


@pytest.mark.parametrize(
    ("script", "message"), [("echo something else", "is no QEMU"), ("exit 1", "is no QEMU"), (None, "names nothing")]
)
def test_what_is_no_qemu_is_told_by_its_path(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, message: str
) -> None:
    if script is not None:
        _script(tmp_path / "my-qemu", script)
    monkeypatch.setenv(emulator.QEMU_VARIABLE, str(tmp_path / "my-qemu"))
    monkeypatch.setenv(emulator.ROOT_VARIABLE, str(tmp_path))
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").touch()
    with pytest.raises(UnavailableError, match=message):
        emulator.find()


def test_the_counter_is_built_once_for_each_version_of_qemus_interface(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    old, new = emulator.counting_plugin("7.2.22"), emulator.counting_plugin("10.0.2")
    assert old != new
    monkeypatch.setenv("PATH", str(tmp_path))
    assert emulator.counting_plugin("7.2.22") == old
    with pytest.raises(UnavailableError, match="no C compiler"):
        emulator.counting_plugin("8.2.2")


def test_a_machine_shows_the_guest_nothing_of_the_hosts_processor_or_libraries(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "machine"
    for part in ("usr/bin", "etc", "proc"):
        (root / part).mkdir(parents=True)
    (root / "etc/python").touch()
    folder.mkdir()
    found = Emulator(Path("/qemu"), "7.2", (), root, "/usr/bin/python3.11", "/opt/edgebuild")
    machine.make(found, "cortex-a76", tmp_path / "count.so", folder)
    prefix = folder / "guest"
    assert "0xd0b" in (prefix / "proc/cpuinfo").read_text()
    assert (prefix / "usr/bin").is_dir()
    assert (prefix / "etc/python").exists()
    assert (prefix / "etc/ld.so.cache").read_bytes() == b""
    assert {path.name for path in (prefix / "run/edgebuild").iterdir()} == {"guest.py", "runner.py"}
    seen = machine.admit(tmp_path / "some network.tflite", 7, folder)
    assert seen == "/run/edgebuild/artifact007.tflite"
    assert (prefix / seen.lstrip("/")).readlink() == tmp_path / "some network.tflite"
    command = machine.command(found, "cortex-a76", 5, keeps_compiled=False)
    assert command[:3] == ["/qemu", "-cpu", "cortex-a76"]
    # Nothing in it tells one run from the next: counts depend on where the environment ends.
    assert not [word for word in command if str(tmp_path) in word]


Started = Callable[[str], tuple[Talk, int]]


@pytest.fixture
def start() -> Iterator[Started]:
    """Starts a Python program, and talks with it over its standard streams."""
    started: list[tuple[Talk, subprocess.Popen[bytes]]] = []

    def begin(program: str) -> tuple[Talk, int]:
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin
        assert process.stdout
        resident = psutil.Process(process.pid)
        talk = Talk(os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno()), lambda: resident.memory_info().rss)
        process.stdin.close()
        process.stdout.close()
        started.append((talk, process))
        return talk, process.pid

    yield begin
    for talk, process in started:
        talk.close()
        process.kill()
        process.wait()


ENOUGH = Limits(time_s=PATIENCE_S, memory_bytes=10**10)


def test_long_lines_go_both_ways(start: Started) -> None:
    talk, _ = start("import sys\nfor line in sys.stdin: print(line, end='', flush=True)")
    request = {"samples": ["x" * 3_000_000]}
    assert talk.ask(request, ENOUGH) == request
    assert talk.ask({"more": 1}, ENOUGH) == {"more": 1}


def test_a_process_that_ends_is_silent(start: Started) -> None:
    talk, _ = start("raise SystemExit")
    assert talk.ask({"block": {}}, ENOUGH) is None


def test_a_process_that_does_not_answer_breaks_its_limit_of_time(start: Started) -> None:
    talk, _ = start("import time; time.sleep(600)")
    with pytest.raises(BrokenLimitError, match=r"it was not done after 200 ms"):
        talk.ask({"block": {}}, Limits(time_s=0.2, memory_bytes=10**10))


def test_a_process_that_eats_memory_breaks_its_limit_of_memory(start: Started) -> None:
    talk, _ = start("import time; eaten = b'x' * 200_000_000; time.sleep(600)")
    with pytest.raises(BrokenLimitError, match=r"more than its 100 MB"):
        talk.ask({"block": {}}, Limits(time_s=PATIENCE_S, memory_bytes=100_000_000))
