"""Training: one loop for every pass that learns, with teachers, labels and a validation split of its own."""
