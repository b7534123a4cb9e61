"""What one training step costs on this machine, every way of training in comparison with backpropagation.

* `torchsid bench memory --model resnet-18 vgg-11 vit-tiny`: kept bytes, and the peak of the process.
* `torchsid bench step --model resnet-18 --stages 4 8`: kept bytes and the time of a step, interleaved in one process.
* `torchsid bench step`: the schedules of the paper's shared cascade.
"""
