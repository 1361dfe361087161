"""Whether a server can be reached, asked directly or through the proxy of the environment."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from inferno import network
from inferno.network import check_reachable

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def test_a_server_that_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_reachable(f"http://127.0.0.1:{server.getsockname()[1]}/some/path", 5)


def test_one_that_does_not() -> None:
    with pytest.raises(ConnectionRefusedError):
        check_reachable("http://127.0.0.1:9", 5)


def test_a_slow_resolver_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def resolve(*_: object, **__: object) -> None:
        answer.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", resolve)
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer from example.invalid within 0.1 seconds"):
        check_reachable("https://example.invalid", 0.1)
    assert time.monotonic() - begin < 10
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "inferno-reach":
            thread.join()


@pytest.mark.parametrize(
    ("environment", "url", "hop"),
    [
        ({}, "https://example.invalid/x", ("example.invalid", 443)),
        ({}, "http://example.invalid:8080", ("example.invalid", 8080)),
        ({"https_proxy": "http://proxy:3128"}, "https://example.invalid", ("proxy", 3128)),
        ({"http_proxy": "proxy:3128"}, "http://example.invalid", ("proxy", 3128)),
        ({"all_proxy": "socks5://proxy"}, "https://example.invalid", ("proxy", 1080)),
        (
            {"https_proxy": "http://proxy:3128", "no_proxy": "example.invalid"},
            "https://example.invalid",
            ("example.invalid", 443),
        ),
    ],
)
def test_the_first_hop(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, hop: tuple[str, int]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert network._first_hop(url) == hop
