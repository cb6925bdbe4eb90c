"""Errors of the serving part. Exit codes 65 to 74."""

from __future__ import annotations
