"""What an app's build depends on by version, checks and calls: one ecosystem a file, their sources in `templates/`."""
