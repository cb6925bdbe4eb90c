"""Layer 6: the signed offline medium, backups."""
