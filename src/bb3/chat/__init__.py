"""Floor 3: one turn of conversation, one step a file."""
