"""Errors of the hardware part. Exit codes 110 to 119."""

from __future__ import annotations
