"""Answers that are there already: kept in memory, in the database or Redis, and on disk; equal requests wait for one.

A wrapper of the model port between the guardrails and recovery. May import what `llm` may.
"""
