"""The lint: faults of the data that a build calibrates and scores with, each with a reason and a remedy."""
