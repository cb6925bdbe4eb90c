"""From token bytes to text: whole characters only, stop sequences cut, nothing said twice.

A token may hold a part of a UTF-8 character, and a stop sequence may begin in one token and
end in the next; so the end of what is known is held back until it can be told.
"""

from __future__ import annotations

import codecs


class TextStream:
    """Feed token bytes, read text that is safe to send.

    After a stop sequence was met ``stopped`` is true and nothing more comes out.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        """Cut at the first of ``stop`` (empty texts are ignored)."""
        self._stop = tuple(s for s in stop if s)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """Take the bytes of one token and return the text that may be sent now."""
        return self._take(self._decoder.decode(data))

    def finish(self) -> str:
        """Return what was held back; an unfinished character becomes U+FFFD."""
        text = self._take(self._decoder.decode(b"", final=True))
        held, self._held = ("" if self.stopped else self._held), ""
        return text + held

    def _take(self, text: str) -> str:
        if self.stopped:
            return ""
        known = self._held + text
        cuts = [at for at in (known.find(s) for s in self._stop) if at >= 0]
        if cuts:
            self.stopped, self._held = True, ""
            return known[: min(cuts)]
        keep = max((_overlap(known, s) for s in self._stop), default=0)
        self._held = known[len(known) - keep :]
        return known[: len(known) - keep]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
