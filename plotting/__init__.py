"""From logs to figures."""
