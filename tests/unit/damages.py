"""Ways to damage a file, each drawn from a generator: what a broken download, disk or sender makes of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

HUGE = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff\xff\xff\x00", b"\x00\x00\x01\x00")


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(8, len(data))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Single bits are turned, anywhere."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 8, 64))):
        damaged[rng.randrange(8, len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flipped_at_the_end(data: bytes, rng: random.Random) -> bytes:
    """A bit is turned where the graph is described: constants come first in most files."""
    damaged = bytearray(data)
    damaged[rng.randrange(max(8, len(data) - 20_000), len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def shuffled(data: bytes, rng: random.Random) -> bytes:
    """Blocks have changed places."""
    size = rng.choice((4, 64, 512))
    blocks = [data[start : start + size] for start in range(8, len(data), size)]
    first, second = rng.randrange(len(blocks)), rng.randrange(max(0, len(blocks) - 20_000 // size), len(blocks))
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return data[:8] + b"".join(blocks)


def huge(data: bytes, rng: random.Random) -> bytes:
    """A count, an offset or a size is enormous."""
    place = rng.randrange(max(8, len(data) - 20_000), len(data) - 4) & ~3
    return data[:place] + rng.choice(HUGE) + data[place + 4 :]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flipped, flipped_at_the_end, shuffled, huge)


def copies(paths: list[Path], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged copies of files in turn, each called by its file, damage and number."""
    rng = random.Random(seed)
    contents = [(path.name, path.read_bytes()) for path in paths]
    for number in range(count):
        name, data = contents[number % len(contents)]
        damage = DAMAGES[number // len(contents) % len(DAMAGES)]
        yield f"{number}-{damage.__name__}-{name}", damage(data, rng)
