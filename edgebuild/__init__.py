"""edgebuild."""
