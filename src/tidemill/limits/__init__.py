"""Limits: budgets and rate limits as people set them, and what was used. The model port's wrappers hold to them.

May import what stands below the domains, and no other domain.
"""
