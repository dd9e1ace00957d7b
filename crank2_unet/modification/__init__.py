"""Density modification, the embedded engine."""
