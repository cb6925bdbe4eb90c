"""Exports: an entry in the words of other systems. Pure, but for the TLS sender."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from appliance.audit.export import atna, balp, cef, ecs, ocsf, table
from appliance.audit.export.common import Record, Source

FORMATS: Final = ("balp", "atna", "ocsf", "ecs", "cef", "csv")

__all__ = ["FORMATS", "Record", "Source", "lines"]


def lines(
    form: str, records: Iterable[Record], source: Source, *, index: str = "hospital-audit"
) -> Iterator[bytes]:
    """Yield the file of an export, piece by piece, as UTF-8.

    ``balp`` and ``ocsf`` are NDJSON, ``ecs`` is NDJSON for ``_bulk`` into ``index``, ``atna`` one
    XML message a line, ``cef`` one event a line, ``csv`` a table with its header.
    """
    if form == "csv":
        yield table.header().encode()
    for record in records:
        yield _one(form, record, source, index).encode()


def _one(form: str, record: Record, source: Source, index: str) -> str:
    if form == "balp":
        return json.dumps(balp.to_balp(record, source), ensure_ascii=False) + "\n"
    if form == "ocsf":
        return json.dumps(ocsf.to_ocsf(record, source), ensure_ascii=False) + "\n"
    if form == "ecs":
        return ecs.to_bulk(record, source, index)
    if form == "cef":
        return cef.to_cef(record, source) + "\n"
    if form == "csv":
        return table.to_row(record)
    if form == "atna":
        return atna.to_atna(record, source).decode() + "\n"
    raise ValueError(f"an export is one of {', '.join(FORMATS)}")
