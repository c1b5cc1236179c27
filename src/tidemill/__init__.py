"""Tidemill: a self-hosted AI hub for software teams."""

__version__ = "0.1.0"
