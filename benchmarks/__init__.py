"""Time and memory, measured; run as `python -m benchmarks.speed`."""
