"""Weight files: reading, converting and checking them."""
