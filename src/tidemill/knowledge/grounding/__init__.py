"""Whether passages say what a sentence says: words, numbers, names and vectors compared, and one probability.

May import llm (the port to embedding models), analysis and core.
"""
