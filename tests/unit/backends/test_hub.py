"""Without a connection the hub is asked once; a proxy, or who is offline already, is left alone."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from worldr1.backends import hub


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Addresses that were connected to, none of which answers; no proxy, and online."""
    addresses: list[Any] = []

    def refuse(address: Any, timeout: float) -> None:
        addresses.append(address)
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.go_offline_if_unreachable.cache_clear()
    yield addresses
    hub.go_offline_if_unreachable.cache_clear()


def test_an_unreachable_hub_is_asked_once_and_then_refuses_at_once(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        hub.go_offline_if_unreachable()
    assert asked == [(urlsplit(constants.ENDPOINT).hostname, 443)]
    assert capsys.readouterr().err.count("cannot be reached: only what is on this machine is used") == 1
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("nobody/nothing", "config.json")


def test_a_hub_of_ones_own_is_asked_at_its_place(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror.example:8080")
    hub.go_offline_if_unreachable()
    assert asked == [("mirror.example", 8080)]


def test_one_that_answers_stays_open(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: ours)
    hub.go_offline_if_unreachable()
    theirs.close()
    assert not constants.HF_HUB_OFFLINE and ours.fileno() == -1


def test_behind_a_proxy_and_offline_nothing_is_asked(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy.example"})
    hub.go_offline_if_unreachable()
    assert asked == [] and not constants.HF_HUB_OFFLINE
