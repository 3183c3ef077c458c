"""What every quantizing technique shares: graph preparation, the profile-driven quantizer, range estimators."""
