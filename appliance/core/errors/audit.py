"""Errors of the audit part. Exit codes 20 to 34."""

from __future__ import annotations
