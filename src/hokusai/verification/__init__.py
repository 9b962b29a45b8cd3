"""Does what a statement claims still hold? Offline from files alone, and against the record in MLflow."""
