"""The port to programs that nobody vouches for: they run in a sandbox, or not at all."""
