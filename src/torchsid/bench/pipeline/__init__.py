"""`torchsid bench pipeline`: stages on several workers, against backpropagation's pipelines and data parallelism."""
