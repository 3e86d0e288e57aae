"""Places where artifacts are timed: one Protocol, a file for each kind, and a table of them."""
