"""How good retrieval and grounding are: datasets, metrics, and the comparison of two configurations.

May import llm, store, analysis, settings and core.
"""
