"""General plots; each takes plain numbers and names and returns a `torchsid.show.svg.Drawing`."""
