"""One trial from its first step to its record: training, inference, metrics."""
