from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from edgebuild import hashing
from edgebuild.execution.store import Entry, Store

KEY = "ab" * 32
_DAY_S = 24 * 3600
# Takes the lock of the key given, says so, and keeps it until its standard input is closed.
_HOLDER = """
import sys
from pathlib import Path
from edgebuild.execution.store import Store
with Store(Path(sys.argv[1])).lock(sys.argv[2], lambda: print("waiting", flush=True)):
    print("held", flush=True)
    sys.stdin.read()
print("released", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _publish(store: Store, files: dict[str, bytes], key: str = KEY, result: bytes = b'{"n":1}', **more: bool) -> Entry:
    with store.workspace() as made:
        for name, data in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(data)
        return store.publish(key, made, result, **more)


def _get(store: Store, key: str = KEY) -> Entry:
    entry = store.get(key)
    assert entry is not None
    return entry


def test_what_was_published_is_found_with_its_result(store: Store) -> None:
    published = _publish(store, {"model.tflite": b"abc", "deep/er/x": b"y"})
    entry = _get(store)
    assert entry == published
    assert entry.result == b'{"n":1}'
    assert (entry.path / "model.tflite").read_bytes() == b"abc"
    assert (entry.path / "deep/er/x").read_bytes() == b"y"


def test_another_process_later_finds_it_too(store: Store, tmp_path: Path) -> None:
    published = _publish(store, {"f": b"abc"})
    assert _get(Store(tmp_path / "store")) == published


def test_a_key_that_was_not_published_is_a_miss(store: Store) -> None:
    _publish(store, {"f": b"abc"})
    assert store.get("cd" * 32) is None


@given(st.dictionaries(st.integers(0, 50), st.binary(max_size=20), max_size=8))
def test_each_key_gives_its_own_entry(contents: dict[int, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for number, data in contents.items():
            _publish(store, {"f": data}, hashing.of_data(number), result=b"%d" % number)
        for number, data in contents.items():
            entry = _get(store, hashing.of_data(number))
            assert ((entry.path / "f").read_bytes(), entry.result) == (data, b"%d" % number)


def test_published_files_are_read_only(store: Store) -> None:
    entry = _publish(store, {"a": b"1", "deep/b": b"2"})
    assert {(entry.path / name).stat().st_mode & 0o777 for name in ("a", "deep/b")} == {0o444}


def _lose(entry: Entry) -> None:
    (entry.path / "deep/b").unlink()


def _shorten(entry: Entry) -> None:
    (entry.path / "a").chmod(0o644)
    (entry.path / "a").write_bytes(b"")


def _alter(entry: Entry) -> None:
    (entry.path / "a").chmod(0o644)
    (entry.path / "a").write_bytes(b"x")


def _scribble(entry: Entry) -> None:
    (entry.path / "record.json").write_bytes(b'{"result"')


def _forget(entry: Entry) -> None:
    (entry.path / "record.json").unlink()


@pytest.mark.parametrize("damage", [_lose, _shorten, _alter, _scribble, _forget])
def test_a_damaged_entry_is_a_miss_and_is_replaced(store: Store, damage: object) -> None:
    entry = _publish(store, {"a": b"1", "deep/b": b"2"})
    damage(entry)  # type: ignore[operator]
    assert store.get(KEY) is None
    _publish(store, {"a": b"1", "deep/b": b"2"})
    assert (_get(store).path / "deep/b").read_bytes() == b"2"
    assert (_get(store).path / "a").read_bytes() == b"1"


def test_what_is_there_stays_when_it_is_made_again(store: Store) -> None:
    _publish(store, {"f": b"first"})
    _publish(store, {"f": b"second"})
    assert (_get(store).path / "f").read_bytes() == b"first"


def test_what_is_there_is_replaced_where_that_is_asked_for(store: Store) -> None:
    _publish(store, {"f": b"first", "g": b"old"})
    _publish(store, {"f": b"second"}, result=b"2", replace=True)
    entry = _get(store)
    assert ((entry.path / "f").read_bytes(), entry.result) == (b"second", b"2")
    assert not (entry.path / "g").exists()


def test_a_workspace_is_gone_afterwards_also_after_an_error(store: Store) -> None:
    folders = []
    for error in (None, ValueError("step failed"), KeyboardInterrupt()):
        try:
            with store.workspace() as made:
                folders.append(made)
                (made / "half").write_bytes(b"done")
                if error is not None:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
    assert len(set(folders)) == 3
    assert not any(folder.exists() for folder in folders)
    assert store.get(KEY) is None


def test_what_killed_builds_left_is_removed_and_what_lives_is_not(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with store.workspace() as mine:
        left = mine.parent / f"{process.pid}-left"
        left.mkdir()
        (left / "half").write_bytes(b"done")
        with store.workspace():
            assert not left.exists()
            assert mine.exists()


@contextlib.contextmanager
def _holder(root: Path, first_word: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that takes the key; it has said its first word."""
    command = [sys.executable, "-c", _HOLDER, str(root), KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert _next_word(process) == first_word
            yield process
        finally:
            process.kill()


def _next_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with _holder(tmp_path / "store", "held") as process:
        yield process


def test_a_lock_keeps_a_second_process_out_until_it_is_released(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with _holder(tmp_path / "store", "waiting") as second:
        assert second.stdout is not None
        assert select.select([second.stdout], [], [], 0.2)[0] == []
        _release(holder)
        assert _next_word(second) == "held"
        _release(second)
        assert _next_word(second) == "released"


def test_waiting_for_a_lock_is_told_once(store: Store, holder: subprocess.Popen[str]) -> None:
    told = []

    def waiting() -> None:
        told.append(holder.poll())
        _release(holder)

    with store.lock(KEY, waiting):
        assert told == [None]


def test_a_lock_of_a_killed_process_is_free(store: Store, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with store.lock(KEY, lambda: pytest.fail("nobody holds it")):
        pass


def test_a_lock_of_another_key_does_not_wait(store: Store, holder: subprocess.Popen[str]) -> None:
    with store.lock("cd" * 32, lambda: pytest.fail("nobody holds it")):
        assert holder.poll() is None


def test_a_lock_is_free_again_after_an_error(store: Store) -> None:
    with pytest.raises(ValueError, match="step"), store.lock(KEY, lambda: None):
        raise ValueError("step")
    with store.lock(KEY, lambda: pytest.fail("nobody holds it")):
        pass
