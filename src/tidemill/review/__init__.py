"""Review of a change: static engines, the choice of hunks for a model, its comments, reports.

May import llm (prompts and the model port), store, analysis, settings and core; never forges: a review gets its
`ChangeSet` from whoever starts it.
"""
