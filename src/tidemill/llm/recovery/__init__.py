"""What happens when a provider fails: the tree, the choice of a target, the circuit breaker, the fallbacks.

`RoutedModel` is the wrapper of the model port that brings them together. May import what `llm` may.
"""
