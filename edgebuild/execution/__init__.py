"""Execution: actions done where there is room for them, once, and kept."""
