"""Arena: the memory that TensorFlow Lite Micro works in."""

from __future__ import annotations

import msgspec


class ArenaPart(msgspec.Struct, frozen=True, kw_only=True):
    """What the allocator recorded under one name, such as "NodeAndRegistration struct"; `allocations` is how many."""

    name: str
    used_bytes: int
    requested_bytes: int
    allocations: int


class Arena(msgspec.Struct, frozen=True, kw_only=True):
    """The tensor arena of an artifact with this machine's structures, which hold 64-bit pointers.

    Attributes:
        required_bytes: the smallest `arena_size` that loads the artifact and runs it; one byte less fails.
        recorded_bytes: what the allocator recorded as in use after a run in an ample arena: head and tail. Less than
            `required_bytes` where loading took more for a while than it kept, as it does in small networks; 8 bytes
            more where those were lost to alignment at the end of the ample one.
        head_bytes: activations and scratch memory, planned to share their places.
        tail_bytes: what lives as long as the interpreter: its structures, kernels' data, variables.
        parts: the tail by what it holds, as far as the allocator names it.
        narrow_least_bytes: what the same kernels need at least on a core with 32-bit pointers, from the sizes of the
            structures there; at most they need `required_bytes`. 0 where it is not known.
    """

    required_bytes: int
    recorded_bytes: int
    head_bytes: int
    tail_bytes: int
    parts: tuple[ArenaPart, ...]
    narrow_least_bytes: int = 0
