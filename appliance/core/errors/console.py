"""Errors of the console part. Exit codes 120 to 124."""

from __future__ import annotations
