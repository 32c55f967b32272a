"""Floor 8: argv and the terminal."""
