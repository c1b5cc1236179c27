"""What reads each request and each answer: masks, flags or refuses what it finds, and leaves a row.

A wrapper of the model port; see `tidemill.llm.guardrails.model`. May import outbound, store, analysis, settings, core.
"""
