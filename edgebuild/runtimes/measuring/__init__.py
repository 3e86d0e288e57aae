"""The child that measures artifacts at places."""
