"""Stored conversations: messages in a tree, asked of a model with as much of their history as it holds.

May import `llm`, `store` and what is below them; no other domain.
"""
