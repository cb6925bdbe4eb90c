"""Install, update, roll back: staged beside the current version, switched atomically."""
