"""The nouns of edgebuild: frozen, keyword-only types that every other module speaks in. Nothing here does work."""
