"""Layer 3: models, adapters, promotions."""
