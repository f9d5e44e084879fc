"""One file, one question; run as `python -m studies.conditions`."""
