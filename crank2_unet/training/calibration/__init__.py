"""What is fitted round a trained network."""
