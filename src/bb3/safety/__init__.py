"""Floor 2: what may be said, on both sides: word list, classifiers, guard, canned replies."""
