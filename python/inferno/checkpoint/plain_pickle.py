"""A reader for the pickles that torch.save writes of tensors. It runs no code: it knows no way to.

Python's own unpickler is not safe even where it may call nothing: a memo index of 2^27 makes it take 2 GB, and the hash
of a tuple nested deep enough ends the process. Here a pickle makes strings, numbers, tuples, lists, dicts with strings
as keys, and what the given builders return. Its length, its steps and what each may make are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import show_name

# A state dict of 10,000 tensors has 1.2 MB and 300,000 steps.
MAX_PICKLE_BYTES = 8 << 20
MAX_STEPS = 1 << 20

_AGAIN = "the file is damaged; download it again"


@dataclass(frozen=True)
class Builder:
    """What a global name of a pickle stands for: `build` gets the arguments of the call."""

    name: str
    build: Callable[[tuple[Any, ...]], Any]


def load_plain(raw: bytes, where: str, known: Mapping[str, Any], persistent: Callable[[object], Any]) -> object:
    """The value of a pickle. `known` maps each global name that may occur to a Builder, or to a value of its own;
    `persistent` resolves persistent ids. `where` names the file in errors.

    Raises UnsupportedError, with the name, for every other global name, and for what torch.save does not write;
    CheckpointError if the pickle is damaged or too large.
    """
    if len(raw) > MAX_PICKLE_BYTES:
        raise CheckpointError(f"{where}: the pickle must be at most {MAX_PICKLE_BYTES} bytes; got {len(raw)}")
    return _Machine(raw, where, known, persistent).run()


class _Machine:
    """A stack machine: the opcodes of pickle's protocols 2 to 5 that describe plain data (Lib/pickletools.py)."""

    def __init__(self, raw: bytes, where: str, known: Mapping[str, Any], persistent: Callable[[object], Any]) -> None:
        self.raw = raw
        self.where = where
        self.known = known
        self.persistent = persistent
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MAX_STEPS):
            opcode = self.take(1)
            if opcode == b".":
                return self.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise UnsupportedError(
                    f"{self.where}: must be a pickle of tensors as torch.save writes it; got opcode "
                    f"0x{opcode[0]:02x} at byte {self.at - 1}"
                )
            step(self)
        raise CheckpointError(f"{self.where}: the pickle must end within {MAX_STEPS} steps; got more")

    def take(self, count: int) -> bytes:
        part = self.raw[self.at : self.at + count]
        if len(part) < count:
            raise self.damaged("it ends in the middle of a step")
        self.at += count
        return part

    def number(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> str:
        end = self.raw.find(b"\n", self.at)
        if end < 0:
            raise self.damaged("a line of it does not end")
        return self.text(self.take(end + 1 - self.at)[:-1])

    def text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged("a string of it is not UTF-8") from None

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise self.damaged("a step of it lacks its value")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.below:
            raise self.damaged("a step of it lacks its mark")
        values, self.stack = self.stack, self.below.pop()
        return values

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.damaged(f"a step of it lacks its {kind.__name__}")
        return self.stack[-1]

    def damaged(self, how: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: must be a whole pickle; {how}, at byte {self.at}; {_AGAIN}")

    # Globals and calls: everything that could run code comes through here.

    def push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.damaged("a global of it has no name")
        full = f"{module}.{name}"
        if full not in self.known:
            raise UnsupportedError(
                f"{self.where}: must hold tensors and no code; got a use of {show_name(full)}, which was not run; get "
                "the model as safetensors, from a source that you trust"
            )
        self.push(self.known[full])

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def inst(self) -> None:
        self.push_global(self.line(), self.line())
        self.call(self.pop(), tuple(self.pop_mark()))

    def reduce(self) -> None:
        args, builder = self.pop(), self.pop()
        self.call(builder, args)

    def call(self, builder: object, args: object) -> None:
        if not isinstance(builder, Builder) or not isinstance(args, tuple):
            raise self.damaged("a call of it lacks its function or its arguments")
        self.push(builder.build(args))

    def build(self) -> None:
        # The attributes of an OrderedDict: a state dict's _metadata, versions of modules, which loading does not need.
        self.pop()
        self.top(dict)

    # Containers

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top(dict)
        if len(values) % 2:
            raise self.damaged("a key of it lacks its value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Only strings: the hash of a nested tuple may take forever, or the process with it.
            if type(key) is not str:
                raise UnsupportedError(
                    f"{self.where}: must be a pickle of tensors by name; got a key of type {type(key).__name__}"
                )
            if key in target:
                raise CheckpointError(f"{self.where}: {show_name(key)} must be given once; got it twice; {_AGAIN}")
            target[key] = value

    def put(self, index: int) -> None:
        self.memo[index] = self.top(object)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.damaged("a step of it looks up what is not there")
        self.push(self.memo[index])


_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),  # LONG1
    b"G": lambda m: m.push(m.take(8)),  # BINFLOAT: nothing here needs its value
    b"X": lambda m: m.push(m.text(m.take(m.number(4)))),  # BINUNICODE
    b"\x8c": lambda m: m.push(m.text(m.take(m.number(1)))),  # SHORT_BINUNICODE
    b"\x8d": lambda m: m.push(m.text(m.take(m.number(8)))),  # BINUNICODE8
    b")": lambda m: m.push(()),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b"(": lambda m: m.mark(),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_mark()),
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    b"c": lambda m: m.push_global(m.line(), m.line()),  # GLOBAL
    b"\x93": lambda m: m.stack_global(),
    b"i": lambda m: m.inst(),
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.push(m.persistent(m.pop())),  # BINPERSID
}
