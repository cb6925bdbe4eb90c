"""Layer 3: versioned datasets."""
