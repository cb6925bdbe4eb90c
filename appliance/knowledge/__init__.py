"""Layer 3: retrieval over local documents."""
