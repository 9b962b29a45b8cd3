"""What was contributed, exactly: reading, content digests, screening."""
