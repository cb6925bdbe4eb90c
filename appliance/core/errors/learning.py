"""Errors of the learning part. Exit codes 50 to 64."""

from __future__ import annotations
