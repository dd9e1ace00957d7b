"""Phases from Friedel mates and anomalous scatterers."""
