"""Composition: builds the objects and wires them, and nothing else. May import everything below it in the house."""
