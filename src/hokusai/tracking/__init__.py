"""Where the facts about a run go: into a local journal first, and from there to MLflow."""
