"""Errors of the host part. Exit codes 95 to 109."""

from __future__ import annotations
