"""What goes wrong between huggingface_hub and the network, said in Inferno's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from inferno.errors import DownloadError, InfernoError, ModelNotFoundError


@contextmanager
def explained(model_id: str, revision: str, endpoint: str) -> Iterator[None]:
    """Turns every exception of the body but Inferno's own into ModelNotFoundError or DownloadError."""
    try:
        yield
    except InfernoError:
        raise
    except Exception as error:  # huggingface_hub lets through those of three HTTP libraries, by version
        raise _explanation(error, model_id, revision, endpoint) from error


def _explanation(error: Exception, model_id: str, revision: str, endpoint: str) -> InfernoError:
    from huggingface_hub import errors as hub

    where = f"{endpoint}/{model_id}"
    if isinstance(error, hub.GatedRepoError):
        return DownloadError(
            f"{where}: is gated; accept its terms on that page, then log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return ModelNotFoundError(f"{where}: has no revision {revision!r}")
    if isinstance(error, hub.RepositoryNotFoundError):
        return ModelNotFoundError(
            f"{model_id}: is no folder here and no model at {endpoint}. Check the spelling; "
            "if the model is private, log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, hub.HfHubHTTPError) and (status := _status(error)) is not None:
        return DownloadError(f"{where}: the server answered {status}; {_advice(status)}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(f"{model_id}: no space left for it in the cache; free some, or set HF_HUB_CACHE")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        return DownloadError(f"{model_id}: the cache cannot be written ({error}); set HF_HUB_CACHE")
    return unreachable(error, model_id, endpoint)


def unreachable(error: Exception, model_id: str, endpoint: str) -> DownloadError:
    """The error for a model that is not here while its server cannot be asked."""
    return DownloadError(
        f"{model_id}: is not in the local cache, and {endpoint} could not be reached ({_gist(error)}). "
        "Check the network, or name a model folder of yours"
    )


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _advice(status: int) -> str:
    if status in (401, 403):
        return "log in with `hf auth login` or set HF_TOKEN"
    if status == 429:
        return "too many requests; wait a while, or log in"
    return "try again later"


def _gist(error: BaseException) -> str:
    """The innermost cause in one line: the outer ones only say that something failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
