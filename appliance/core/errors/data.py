"""Errors of the data part. Exit codes 35 to 49."""

from __future__ import annotations
