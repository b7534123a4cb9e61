"""A slow line on one machine: two network namespaces, joined by a relay that holds every packet back."""
