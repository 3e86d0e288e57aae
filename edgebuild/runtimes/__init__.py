"""Places where an artifact can run, each reached through a child process."""
