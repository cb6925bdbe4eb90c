"""Readers: every format of a hospital's records, into the one record model."""
