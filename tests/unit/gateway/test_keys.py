from __future__ import annotations

import stat
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.clock import FixedClock
from appliance.core.errors import AccessDeniedError, StateDamagedError
from appliance.core.home import Home
from appliance.gateway.keys import KeyStore, Principal


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def keys(home: Home, clock: FixedClock) -> KeyStore:
    return KeyStore(home, clock)


def test_a_key_names_its_principal(keys: KeyStore) -> None:
    key, record = keys.create("ward-app", "app")
    assert keys.authenticate(f"Bearer {key}") == Principal("ward-app", "app", record.id)
    assert keys.authenticate(f"bearer {key}").name == "ward-app"


def test_the_key_itself_is_nowhere_on_the_disk(keys: KeyStore, home: Home) -> None:
    key, _ = keys.create("ward-app", "app")
    secret = key.split("-", 2)[2].encode()  # it may hold "-" itself
    files = [p for p in home.root.rglob("*") if p.is_file()]
    assert not any(secret in p.read_bytes() or key.encode() in p.read_bytes() for p in files)
    for name in ("api-keys.json", "api-keys.secret"):
        assert stat.S_IMODE((home.keys / name).stat().st_mode) == 0o600


def test_without_keys_nobody_comes_in(keys: KeyStore) -> None:
    for header in (None, "", "Bearer ", "Bearer sk-00000000-" + "A" * 43):
        with pytest.raises(AccessDeniedError):
            keys.authenticate(header)


def test_a_changed_character_is_another_key(keys: KeyStore) -> None:
    key, _ = keys.create("ward-app", "app")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(AccessDeniedError):
        keys.authenticate(f"Bearer {wrong}")


def test_a_revoked_key_is_refused_by_a_store_that_knew_it(home: Home, clock: FixedClock) -> None:
    office, gateway = KeyStore(home, clock), KeyStore(home, clock)
    key, record = office.create("ward-app", "app")
    gateway.authenticate(f"Bearer {key}")
    office.revoke(record.id)
    with pytest.raises(AccessDeniedError):
        gateway.authenticate(f"Bearer {key}")


def test_an_expired_key_is_refused(keys: KeyStore, clock: FixedClock) -> None:
    key, _ = keys.create("ward-app", "app", days=1)
    clock.advance(86_399)
    keys.authenticate(f"Bearer {key}")
    clock.advance(1)
    with pytest.raises(AccessDeniedError):
        keys.authenticate(f"Bearer {key}")


def test_a_stolen_file_verifies_nothing_under_another_secret(
    keys: KeyStore, home: Home, clock: FixedClock
) -> None:
    key, _ = keys.create("ward-app", "app")
    (home.keys / "api-keys.secret").write_bytes(bytes(32))
    with pytest.raises(AccessDeniedError):
        KeyStore(home, clock).authenticate(f"Bearer {key}")


def test_a_session_key_is_not_kept(keys: KeyStore, home: Home, clock: FixedClock) -> None:
    key = keys.session("local", "operator")
    assert keys.authenticate(f"Bearer {key}").role == "operator"
    with pytest.raises(AccessDeniedError):
        KeyStore(home, clock).authenticate(f"Bearer {key}")


@pytest.mark.parametrize("name", ["", "Ana Souza", "a@b.example", "12345678909", "x" * 65, "a/b"])
def test_a_principal_that_would_put_a_person_into_the_log_is_refused(
    keys: KeyStore, name: str
) -> None:
    with pytest.raises(AccessDeniedError):
        keys.create(name, "app")


def test_a_damaged_key_file_lets_nobody_in(keys: KeyStore, home: Home, clock: FixedClock) -> None:
    key, _ = keys.create("ward-app", "app")
    (home.keys / "api-keys.json").write_text('{"keys": [{"id": "x"}]}')
    with pytest.raises(StateDamagedError):
        KeyStore(home, clock).authenticate(f"Bearer {key}")


@given(st.text())
def test_no_header_of_any_form_is_more_than_refused(header: str) -> None:
    with pytest.raises(AccessDeniedError):
        _EMPTY.authenticate(header)


class _NoFile:
    """A store whose file is not there, whatever the test's own home."""

    def __init__(self) -> None:
        from pathlib import Path

        clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.store = KeyStore(Home(Path("/nonexistent")), clock)

    def authenticate(self, header: str) -> Principal:
        return self.store.authenticate(header)


_EMPTY = _NoFile()
