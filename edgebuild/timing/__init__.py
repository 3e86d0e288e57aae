"""Statistics of timed runs: intervals, warm-up, when to stop, comparisons, and what disturbed them."""
