"""Copy only the damaged blocks from a second medium that carries the same bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.bundle.medium import FolderMedium, Medium, Source
from appliance.bundle.prove import Sink, Wanted, prove
from appliance.bundle.trust import Trusted
from appliance.bundle.verify import wanted_blocks
from appliance.core.durable import TEMP_PREFIX, os_errors
from appliance.core.errors import BundleDamagedError
from appliance.core.progress import Progress
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Repaired:
    """What repair copied."""

    blocks: tuple[str, ...]
    metadata: tuple[str, ...]
    bytes: int


def damaged_metadata(medium: Medium, trusted: Trusted) -> list[str]:
    """Return the metadata files of ``medium`` that are not those of the proven bundle."""
    bad = []
    for path, data in trusted.files.items():
        buffer = bytearray(len(data) + 1)
        try:
            source = medium.open(path)
        except OSError:
            bad.append(path)
            continue
        try:
            count = _fill(source, buffer)
        except OSError:
            count = -1
        finally:
            source.close()
        if count != len(data) or buffer[:count] != data:
            bad.append(path)
    return bad


def _fill(source: Source, buffer: bytearray) -> int:
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = source.readinto(view[done:])
        if not count:
            break
        done += count
    return done


def repair(
    pair: tuple[FolderMedium, Medium],
    trusted: Trusted,
    limits: BundleSettings,
    damaged: Iterable[str],
    progress: Progress,
) -> Repaired:
    """Replace the ``damaged`` blocks and metadata of the first medium by proven bytes of the other.

    ``trusted`` was loaded from the other. Every block is proven while it is copied and takes
    its name only afterwards, so an interrupted repair leaves the medium no worse.
    """
    medium, other = pair
    wanted, _ = wanted_blocks(trusted)
    blocks = [wanted[p] for p in sorted(set(damaged)) if p in wanted]
    buffer = memoryview(bytearray(limits.buffer_bytes))
    done = 0
    for block in blocks:
        _copy(medium, other, block, buffer)
        done += block.length
        progress.update(done, sum(b.length for b in blocks), block.path)
    metadata = damaged_metadata(medium, trusted)
    for path in metadata:
        temp = _temp(medium.root)
        _write(temp, trusted.files[path])
        medium.replace(path, temp)
    return Repaired(tuple(b.path for b in blocks), tuple(metadata), done)


def _temp(root: Path) -> Path:
    return root / f"{TEMP_PREFIX}repair.{os.getpid()}"


def _write(temp: Path, data: bytes) -> None:
    with os_errors(temp), temp.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _copy(medium: FolderMedium, other: Medium, block: Wanted, buffer: memoryview) -> None:
    temp = _temp(medium.root)
    try:
        with os_errors(temp), temp.open("wb") as stream:
            try:
                prove(other, block, buffer, _writer(stream))
            except BundleDamagedError as error:
                raise BundleDamagedError(
                    expected=f"{block.what} undamaged on {other.name}",
                    found=error.found,
                    remedy="Both media are damaged at this block; use a third one.",
                ) from error
            stream.flush()
            os.fsync(stream.fileno())
        medium.replace(block.path, temp)
    finally:
        temp.unlink(missing_ok=True)


def _writer(stream: BinaryIO) -> Sink:
    def write(data: memoryview, _offset: int) -> None:
        stream.write(data)

    return write
