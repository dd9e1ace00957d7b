"""Training of the network: the only place that needs Keras; running the package does not."""
