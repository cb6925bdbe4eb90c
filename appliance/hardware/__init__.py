"""Layer 2: inventory of the machine, planning, watching."""
