"""Who may do what: people, teams, API keys, signing in, and the audit log of it all.

May import store, analysis, telemetry, settings and core.
"""
