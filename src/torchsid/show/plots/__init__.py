"""Eight general plots, one a file; each takes plain numbers and names and returns a `torchsid.show.svg.Drawing`."""
