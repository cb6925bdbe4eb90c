"""What is given to the engine, and what is taken from it again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from requests.exceptions import ReadTimeout

from appliance.bundle.images.engine import SILENT_S, bring, connect
from appliance.bundle.images.proof import identify, prove_file
from appliance.bundle.images.services import LABEL, Plan, remove_others
from appliance.core.errors import ArchiveRefusedError, ImageRefusedError
from tests.unit.bundle.images.memory_engine import MemoryEngine, small_archive


def test_what_an_archive_names_is_what_it_is_proven_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.oci.tar"
    small_archive(path, "appliance/a:1")
    proven = prove_file(path)
    assert identify(path) == (proven.reference, proven.image_id)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 10240])
def test_what_is_no_archive_names_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.oci.tar"
    path.write_bytes(content)
    with pytest.raises(ArchiveRefusedError):
        identify(path)


def test_an_image_the_engine_has_is_not_given_again(tmp_path: Path) -> None:
    path, engine = tmp_path / "a.oci.tar", MemoryEngine()
    one = small_archive(path, "appliance/a:1")
    client: Any = engine
    assert bring(client, path) == bring(client, path) == one
    assert engine.loads == 1
    two = small_archive(path, "appliance/a:1", b"another version under the same name")
    assert bring(client, path) == two != one
    assert (engine.loads, engine.get("appliance/a:1").id) == (2, two)


def test_an_archive_that_was_exchanged_is_proven_before_the_engine_gets_it(tmp_path: Path) -> None:
    path, engine = tmp_path / "a.oci.tar", MemoryEngine()
    small_archive(path, "appliance/a:1")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x1f\x8b") + 20
    data[at] ^= 1
    path.write_bytes(data)
    client: Any = engine
    with pytest.raises(ArchiveRefusedError):
        bring(client, path)
    assert engine.loads == 0


def test_an_engine_that_unpacks_for_minutes_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def client(**options: Any) -> Any:
        given.update(options)
        return SimpleNamespace(ping=lambda: True)

    monkeypatch.setattr("appliance.bundle.images.engine.DockerClient", client)
    connect("unix:///run/other.sock")
    assert given["timeout"] == SILENT_S >= 600


def test_an_engine_that_stops_answering_refused_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.oci.tar"
    small_archive(path, "appliance/a:1")

    class Silent(MemoryEngine):
        def load(self, stream: IO[bytes]) -> None:
            raise ReadTimeout

    engine: Any = Silent()
    with pytest.raises(ImageRefusedError) as caught:
        bring(engine, path)
    assert caught.value.found == "ReadTimeout"


def test_containers_of_services_that_are_gone_are_removed() -> None:
    gone: list[str] = []

    def row(name: str, service: str) -> Any:
        return SimpleNamespace(
            name=name, labels={LABEL: service}, stop=lambda: None, remove=lambda: gone.append(name)
        )

    engine = MemoryEngine()
    engine.rows = [
        row("appliance-gateway", "gateway"),
        row("appliance-older", "older"),
        row("another-older", "older"),
    ]
    client: Any = engine
    remove_others(client, Plan("appliance", {"gateway": {}}, {}, {}))
    assert gone == ["appliance-older"]
