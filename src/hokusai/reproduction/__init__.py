"""Does a recorded evaluation again, from what a tracking store holds of it, and says what came out the same."""
