"""HTTP: parse, call one service or flow, return. May import everything below it in the house."""
