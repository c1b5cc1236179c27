"""Metrics and logs. May import core alone."""
