"""From a sample to features, for a shared cascade: a registry, a file is an entry."""
