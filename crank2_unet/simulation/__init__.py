"""Simulated SAD experiments."""
