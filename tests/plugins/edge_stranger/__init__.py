"""A package of a stranger: it adds to edgebuild through entry points, and touches no file of it."""
