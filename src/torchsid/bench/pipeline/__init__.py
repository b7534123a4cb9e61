"""What is compared when stages train on several workers, and what is read from the measurements; nothing here talks to a process.

`torchsid bench pipeline` measures SID's pipeline against backpropagation's pipelines and data parallelism.
"""
