"""How an app runs an artifact: a page of short programs with this file's own ends, for each language that has them."""
