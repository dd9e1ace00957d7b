"""Crystals, maps and masks to train with."""
