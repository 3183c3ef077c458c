"""What an app build consumes: the manifest beside each artifact."""
