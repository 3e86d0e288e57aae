"""Channel surgery: networks made really smaller, with fewer channels or without whole blocks.

- `tracing.trace(graph) -> Channels`: which channels hang together, which can go, which cannot and why.
- `cutting.cut(graph, channels, removed) -> Graph`, and `cutting.silence`, which proves it right.
- `operators.operators(graph, channels, dtype) -> (Operator, ...)`: what is computed, as functions of channel counts.
- `cost.Macs()`, `cost.ParameterBytes()`, `cost.Latency(table, operators, channels)`; `cost.grids(operators, multiple)`
  says what to measure for a table; `cost.total(operators, cost, counts)` with `cost.full_counts(channels)`.
- `importance.magnitude(graph, channels, order)`, `importance.batch_norm_scale(graph, channels)`,
  `importance.taylor(graph, channels, batches, loss)`: how much each channel matters.
- `selection.select(channels, operators, importance, cost, keep=…, multiple=…, …) -> Selection`: which channels go.
- `blocks.find(graph) -> (Block, ...)`, `blocks.drop(graph, block) -> Graph`.
- `narrowing.narrow(graph, width, multiple, fresh=None) -> Graph`: the same architecture, narrower all over.
"""
