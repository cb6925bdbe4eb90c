"""Backups of the home: encrypted as a stream, resumable, restored only into an empty folder."""
