"""Layer 5: the stages as a resumable graph over content hashes."""
