"""Uploaded files: who may have how much, what they are called, and when they end. May import `store` and below."""
