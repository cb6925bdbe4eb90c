"""What even a signed archive may not hold."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from appliance.bundle.archives import unpack
from appliance.bundle.collect.files import pack
from appliance.core.errors import ArchiveRefusedError
from appliance.core.settings.bundle import BundleSettings

LIMITS = BundleSettings(unpack_max_bytes=4 << 20, unpack_max_ratio=100, unpack_max_members=50)


def archive(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload] # mode is a test's word
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefusedError):
        unpack(path, tmp_path / "out", LIMITS)
    assert not (tmp_path / "evil").exists()


def test_plain_archive_round_trip(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "run").write_text("x")
    (tmp_path / "in" / "deep" / "run").chmod(0o755)
    data = pack(tmp_path / "in", "c")
    assert data == pack(tmp_path / "in", "c")
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out", LIMITS) == 1
    made = tmp_path / "out" / "c" / "deep" / "run"
    assert made.read_text() == "x"
    assert made.stat().st_mode & 0o7777 & ~0o022 == 0o755


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil"])
def test_path_out_of_the_folder(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path, (info(name), b"x")), tmp_path)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1755])
def test_setuid_in_an_archive(tmp_path: Path, mode: int) -> None:
    refused(archive(tmp_path, (info("su", mode=mode), b"x")), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_device_or_fifo_in_an_archive(tmp_path: Path, kind: bytes) -> None:
    refused(archive(tmp_path, (info("dev", type=kind), b"")), tmp_path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../evil", "../evil"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_link_out_of_the_folder(tmp_path: Path, target: str, kind: bytes) -> None:
    refused(archive(tmp_path, (info("l", type=kind, linkname=target), b"")), tmp_path)


def test_writing_through_a_link_of_the_archive(tmp_path: Path) -> None:
    link = info("a/l", type=tarfile.SYMTYPE, linkname="../b")
    refused(archive(tmp_path, (link, b""), (info("a/l/evil"), b"x")), tmp_path)


def test_the_same_path_twice(tmp_path: Path) -> None:
    refused(archive(tmp_path, (info("a"), b"x"), (info("a"), b"y")), tmp_path)


def test_decompression_bomb(tmp_path: Path) -> None:
    raw = archive(tmp_path, (info("zeros"), b"\0" * (3 << 20))).read_bytes()
    (tmp_path / "bomb.tar.xz").write_bytes(lzma.compress(raw))
    with pytest.raises(ArchiveRefusedError, match="bomb"):
        unpack(tmp_path / "bomb.tar.xz", tmp_path / "out", LIMITS)
    written = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*"))
    assert written < 2 << 20


def test_more_bytes_than_allowed(tmp_path: Path) -> None:
    refused(archive(tmp_path, *((info(f"f{i}"), b"x" * (1 << 20)) for i in range(5))), tmp_path)


def test_more_members_than_allowed(tmp_path: Path) -> None:
    refused(archive(tmp_path, *((info(f"f{i}"), b"") for i in range(60))), tmp_path)


def test_truncated_archive(tmp_path: Path) -> None:
    path = archive(tmp_path, (info("a"), b"x" * 100_000), mode="w:gz")
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, tmp_path)
