"""Cross-layer equalization: channels rescaled so that int8 loses less, while the float network computes the same.

- `equalizing.equalize(graph, samples, ...) -> Equalized`: all of it; the rest serves it.
- `tracing.trace(graph) -> Scaling`: which channels share a scale, and which weights multiply or divide by it.
- `scaling.rescaled(graph, scaling, scales) -> Graph`: exact for any positive scales.
"""
