"""What protects data: secrets, the time after which things are deleted. May import store and what is below it."""
