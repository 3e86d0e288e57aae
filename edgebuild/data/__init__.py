"""Data: read from what the user names, divided into splits that stay apart, and fed to networks."""
