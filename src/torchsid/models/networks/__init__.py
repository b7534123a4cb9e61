"""What a configuration makes of a model: a registry, a file is an entry."""
