"""Layer 4: metrics and gates."""
