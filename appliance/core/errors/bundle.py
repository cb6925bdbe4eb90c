"""Errors of the bundle part. Exit codes 75 to 94."""

from __future__ import annotations
