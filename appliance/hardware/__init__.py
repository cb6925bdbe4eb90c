"""Layer 2: know the machine, plan the model, keep watch."""
