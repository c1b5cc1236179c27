"""Where changes come from. Today: a local git repository, read with the git program.

May import store, analysis, settings and core.
"""
