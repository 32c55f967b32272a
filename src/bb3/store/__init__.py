"""Floor 2: conversations, memories and traces on disk."""
