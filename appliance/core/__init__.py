"""Layer 1: settings, errors, durable files, clock, canonical JSON, progress."""
