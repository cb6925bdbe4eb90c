"""Layer 4: recipes and training back ends."""
