"""The kinds of actions: for each its settings, its result, what it takes, and what does it; nothing heavy here."""
