"""Pure functions over values: diffs, syntax, secrets, the necessity of a review. No I/O. May import only core."""
