"""What the network sees, says and means."""
