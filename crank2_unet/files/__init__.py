"""All that is read and written."""
