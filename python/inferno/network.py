"""Whether a server answers at all, told within a given time.

Libraries bound each attempt; several addresses, attempts or a slow resolver add up to half a minute of silence.
"""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PORTS = {"http": 80, "https": 443}


def check_reachable(url: str, seconds: float) -> None:
    """Connects once to the server of `url`, or to the proxy that the environment names for it.

    Raises OSError with the reason if that fails; TimeoutError if it takes longer than `seconds`.
    """
    host, port = _first_hop(url)
    outcome: list[OSError | None] = []

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    # In a thread of its own: a look-up of the name cannot be given a time limit.
    thread = threading.Thread(target=attempt, name="inferno-reach", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer from {host} within {seconds:g} seconds")
    if outcome[0] is not None:
        raise outcome[0]


def _first_hop(url: str) -> tuple[str, int]:
    target = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(target.netloc):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = target.port
    except ValueError:
        port = None
    return target.hostname or "", port or _PORTS.get(target.scheme, 1080)
