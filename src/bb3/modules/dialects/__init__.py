"""How a module's prompt is written and its answer read, one dialect a file."""
