"""Which part of a weight shares a scale: a channel, the whole tensor, a group of columns, or a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inferno.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from inferno.quantization.claims import Claim

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """`rows` and `columns` count for the strategy "block", `columns` for "group"."""

    strategy: Literal["tensor", "channel", "group", "block"]
    rows: int = 1
    columns: int = 1

    @classmethod
    def claimed(cls, claim: Claim) -> Blocks:
        """As the config's arguments for weights say. UnsupportedError for a strategy that weights cannot have."""
        args = claim.weights
        assert args is not None
        if args.strategy in ("tensor", "channel"):
            return cls("tensor" if args.strategy == "tensor" else "channel")
        if args.strategy == "group":
            if args.group_size is None or args.group_size < 1:
                raise ConfigError(f"{claim.where}: weights: group_size must be at least 1; got {args.group_size}")
            return cls("group", 1, args.group_size)
        if args.strategy == "block":
            if args.block_structure is None:
                raise ConfigError(f"{claim.where}: weights: block_structure must be given for the strategy block")
            return cls("block", *args.block_structure)
        raise UnsupportedError(
            f"{claim.where}: weights: strategy must be tensor, channel, group or block; got {args.strategy}"
        )

    def of(self, n: int, k: int) -> tuple[int, int]:
        """Rows and columns of an (n, k) weight that share a scale."""
        if self.strategy == "tensor":
            return n, k
        if self.strategy == "channel":
            return 1, k
        return min(self.rows, n), min(self.columns, k)

    def counts(self, n: int, k: int) -> tuple[int, int]:
        """Blocks along rows and along columns."""
        rows, columns = self.of(n, k)
        return -(-n // rows), -(-k // columns)

    def shapes(self, n: int, k: int) -> list[Shape]:
        """The shapes that scales may have, the one that compressed-tensors writes first."""
        rows, columns = self.counts(n, k)
        if self.strategy == "tensor":
            return [(1,), (), (1, 1)]
        if self.strategy == "channel":
            return [(rows, 1), (rows,)]
        return [(rows, columns)]

    def __str__(self) -> str:
        if self.strategy == "group":
            return f"group of {self.columns}"
        return f"block of {self.rows} x {self.columns}" if self.strategy == "block" else self.strategy
