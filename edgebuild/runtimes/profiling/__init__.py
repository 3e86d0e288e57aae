"""LiteRT's own profiler, and what its steps are in terms of a file's operators."""
