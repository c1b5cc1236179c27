"""Knowledge: sources, the warehouse of their documents, search, and answers whose citations hold.

May import crawlers, readers, llm, jobs, store, analysis, settings and core.
"""
