"""Two networks' outputs and layers held against each other: pure functions of arrays."""
