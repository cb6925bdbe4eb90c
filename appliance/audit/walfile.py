"""The write-ahead file on the disk: one write and one ``fdatasync`` a group.

``ENOSPC`` takes the unfinished group back and leaves a usable file. Any other error of a write or
a flush leaves the page cache in a state nobody can name (fsyncgate, 2018: a second fsync reports
success for pages that were dropped), so the writer must stop and read the file again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from appliance.audit.wal import SegmentHead, pack_entries, record, segment_name
from appliance.core.durable import write_bytes
from appliance.core.errors import AuditFullError, AuditUnavailableError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WalFile:
    """The segment that is being written. Not for use by two threads at once."""

    def __init__(self, path: Path, end: int) -> None:
        """Go on after ``end`` whole bytes; what stands behind them is cut off."""
        self.path = path
        self.end = end
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if os.fstat(self._fd).st_size > end:
            os.ftruncate(self._fd, end)
            os.fdatasync(self._fd)

    @classmethod
    def create(cls, folder: Path, head: SegmentHead, entries: Sequence[bytes]) -> WalFile:
        """Make the segment that starts at ``head.start``, durable, with ``entries`` in it."""
        data = head.encode()
        if entries:
            data += record(pack_entries(entries))
        path = folder / segment_name(head.start)
        write_bytes(path, data)
        return cls(path, len(data))

    def append(self, payload: bytes) -> None:
        """Make one group durable, or raise and leave it out.

        Raises :class:`AuditFullError` when there is no space (the file stays usable) and
        :class:`AuditUnavailableError` for anything else (it does not).
        """
        data = record(payload)
        try:
            view = memoryview(data)
            position = self.end
            while view:
                written = os.pwrite(self._fd, view, position)
                view, position = view[written:], position + written
            os.fdatasync(self._fd)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown")
            if error.errno in FULL and self._take_back():
                raise AuditFullError(
                    expected="space for the write-ahead file", found=f"{name}"
                ) from error
            raise AuditUnavailableError(
                expected="a write-ahead file that can be written and flushed", found=name
            ) from error
        self.end += len(data)

    def _take_back(self) -> bool:
        try:
            os.ftruncate(self._fd, self.end)
            os.fdatasync(self._fd)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
