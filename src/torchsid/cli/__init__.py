"""The `torchsid` command, one file a verb. Nothing here imports torch before a verb needs it."""
