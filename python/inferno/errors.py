"""The one exception family of Inferno.

Every member is an InfernoError and also the built-in that it resembles, so that callers may catch either. A message
says what was found, where (file, tensor, field), what was expected and what would repair it.
"""

from __future__ import annotations


class InfernoError(Exception):
    """Root of everything that Inferno raises on purpose. `code` is the kind's name in reports, stable for programs."""

    code = "failed"


class UsageError(InfernoError, ValueError):
    """The call itself is wrong: an argument, a flag, a sampling value. The CLI exits with 2."""

    code = "usage"


class ModelNotFoundError(InfernoError, FileNotFoundError):
    """No model lies where the name or path points."""

    code = "not-found"


class CheckpointError(InfernoError, ValueError):
    """A weight file is damaged, incomplete, or does not fit its config."""

    code = "checkpoint"


class ConfigError(InfernoError, ValueError):
    """config.json or one of its kin is missing a field, or holds a value that makes no sense."""

    code = "config"


class UnsupportedError(InfernoError, NotImplementedError):
    """The model is what it should be, but needs something that Inferno does not implement."""

    code = "unsupported"


class TextError(InfernoError, ValueError):
    """A tokenizer or chat template is broken, or text cannot be encoded or rendered with it."""

    code = "text"


class ContextLengthError(InfernoError, ValueError):
    """A prompt does not fit the context."""

    code = "context"


class DownloadError(InfernoError, ConnectionError):
    """Something had to be fetched and could not be."""

    code = "download"


class HardwareError(InfernoError, RuntimeError):
    """This machine lacks what was asked of it."""

    code = "hardware"
