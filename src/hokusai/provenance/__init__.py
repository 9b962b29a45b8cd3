"""What is claimed of an evaluation, by whom it is signed, and what a stranger can check of it."""
