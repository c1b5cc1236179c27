"""Providers of models behind the one model port, each asked through its official client.

What failed is classified here, once, as a leaf of `core.failure`; what follows from it is decided above. Also a
scripted server that speaks the providers' wire formats and fails on command. May import what `llm` may.
"""
