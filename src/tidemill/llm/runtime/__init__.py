"""Local models in supervised child processes, within a budget of memory. May import what `llm` may.

Holds no names: the child imports its own module alone, so that it starts quickly.
"""
