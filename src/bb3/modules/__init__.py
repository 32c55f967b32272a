"""Floor 1: the 14 modules: what each is asked, in which words, and how its answer is read."""
