"""The port to durable work, and its adapters. May import store, analysis, telemetry, settings and core."""
