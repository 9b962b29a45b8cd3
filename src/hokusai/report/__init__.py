"""Records as documents and pages that a person or a program reads: values in, text out."""
