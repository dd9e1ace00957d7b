"""Crank2's option ``dmmask`` and its process ``segmentmap``, for Crank2 2.0.345 in both its layouts."""
