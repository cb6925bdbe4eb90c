"""Layer 6: what installs, verifies and watches the host."""
