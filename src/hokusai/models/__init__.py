"""Trainers, safe model files, and the MLflow model registry."""
