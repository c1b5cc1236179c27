"""Values, ids, the clock and the error tree. No I/O; imports nothing from the other packages."""
