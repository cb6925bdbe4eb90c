"""Layer 7: the command line. One file a command group; no logic here."""
