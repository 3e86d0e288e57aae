"""Strategies: what proposes plans, and looks at what became of them."""
