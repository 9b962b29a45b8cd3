"""A test kit for everyone who tests code that tracks with MLflow."""
