"""Files and databases: what is read, cached, persisted and written. Knows nothing of models."""
