"""Rules over what the database holds, and who is told when one is broken.

May import llm, forges, jobs, store, outbound, analysis, telemetry, settings and core.
"""
