"""What a user asks to measure: artifacts, folders and records, here or on devices."""
