"""Who may do what: API keys. May import store, analysis, telemetry, settings and core."""
