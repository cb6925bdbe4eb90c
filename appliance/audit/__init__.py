"""Layer 2: the transparency log."""
