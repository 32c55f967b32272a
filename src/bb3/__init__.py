"""bb3: a conversational agent that searches, remembers, stays safe and learns from use."""

__version__ = "0.1.0"
