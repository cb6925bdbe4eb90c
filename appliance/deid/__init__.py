"""Layer 2: find and replace identifiers."""
