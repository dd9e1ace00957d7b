"""The commands: each reads files, runs the pipeline and writes."""
