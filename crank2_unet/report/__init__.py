"""report.html from result.json."""
