"""`torchsid bench pipeline`: SID's pipeline against pipelines of backpropagation and data parallelism, in the same processes."""
