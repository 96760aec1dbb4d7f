"""A stage on AWS: planned, packaged, applied, taken away."""
