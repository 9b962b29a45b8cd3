"""Numbers in, numbers out: metrics, their influence functions, and the statistics of a delta."""
