"""Floor 2: search providers, one file each, and what is done with their results."""
