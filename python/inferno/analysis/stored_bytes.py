"""The bytes of tensors as files hold them, streamed and compared.

Nothing is mapped: memory does not grow with the tensors, and a file that is cut short meanwhile is an error, where a
mapping of it would end the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from inferno.checkpoint.tensor import AnyTensor, Tensor
from inferno.errors import CheckpointError, InfernoError
from inferno.files import open_regular, read_up_to

# Bytes of a file that are held at a time.
PIECE = 4 << 20


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """A file's descriptor and its size in bytes. Raises CheckpointError if it cannot be read or is no regular file."""
    fd, size = open_regular(path, CheckpointError)
    try:
        yield fd, size
    finally:
        os.close(fd)


def equal_bytes(first: AnyTensor, second: AnyTensor) -> bool | None:
    """Whether two tensors are equal, byte by byte (a NaN equals itself).

    None if it cannot be told so: they differ in dtype, in shape or in how they are cut into parts, or cannot be read.
    """
    if _form(first) != _form(second):
        return None
    pairs = zip(first.parts, second.parts, strict=True)
    try:
        return all(a == b for one, other in pairs for a, b in zip(_pieces(one), _pieces(other), strict=True))
    except (InfernoError, OSError):
        return None


def unequal_replicas(replicas: Mapping[str, Sequence[Tensor]]) -> tuple[str, ...]:
    """The names of tensors whose copies in the shards differ, in any byte or in length.

    Reads the copies. Those that cannot be read are not named.
    """
    return tuple(
        name
        for name, (first, *others) in replicas.items()
        if any(first.nbytes != other.nbytes or equal_bytes(first, other) is False for other in others)
    )


def _form(tensor: AnyTensor) -> tuple[str, list[tuple[int, ...]]]:
    return tensor.dtype, [tensor.shape, *(part.shape for part in tensor.parts)]


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    with opened(tensor.file) as (fd, _):
        for begin in range(0, tensor.nbytes, PIECE):
            wanted = min(PIECE, tensor.nbytes - begin)
            piece = read_up_to(fd, wanted, tensor.offset + begin)
            if len(piece) < wanted:
                raise CheckpointError(f"{tensor.file}: must keep its length while it is read; got a shorter file")
            yield piece
