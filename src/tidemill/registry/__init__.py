"""Which exact versions serve which task. May import llm, store, analysis, telemetry, settings and core."""
