"""Where documents come from: folders, repositories, forges, sites, feeds, exports.

May import outbound, store, analysis, settings and core.
"""
