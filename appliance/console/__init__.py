"""Layer 6: the reviewers' console."""
