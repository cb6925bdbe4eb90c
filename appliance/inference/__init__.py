"""Layer 4: engines."""
