"""The port to models, its adapters, and what they need: the catalog, downloads, the local runtime, prompts.

May import store, analysis, telemetry, settings and core.
"""
