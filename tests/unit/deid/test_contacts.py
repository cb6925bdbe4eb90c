from __future__ import annotations

import socket

import pytest

from appliance.deid import contacts


def test_the_suffix_list_is_the_bundled_one_and_nothing_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    contacts._suffixes.cache_clear()
    contacts.domain_ok.cache_clear()
    assert contacts.domain_ok("laudos.exemplo.com.br/1")
    assert not contacts.domain_ok("exame.naoexiste")


@pytest.mark.parametrize(
    ("text", "right"),
    [("10.0.0.1", True), ("0.0.0.0", False), ("fe80::1", True), ("1.2.3", False), ("12:30", False)],  # noqa: S104 - no address is bound
)
def test_addresses(text: str, *, right: bool) -> None:
    assert contacts.ip_ok(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("123-45-6789", True), ("000-45-6789", False), ("900-45-6789", False), ("123-45-0000", False)],
)
def test_social_security_numbers(text: str, *, right: bool) -> None:
    assert contacts.ssn_ok(text) is right
