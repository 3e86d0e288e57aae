"""The engine: walks plans, keeps what was made, and publishes artifacts."""
