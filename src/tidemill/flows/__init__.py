"""Durable workflows that join domains. May import the domains and everything below them."""
