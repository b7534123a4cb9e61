"""Learners: a network together with a training method. The folder is a registry: a file is a method with its settings."""

from torchsid.registry import Registry

LEARNERS = Registry("torchsid.learners", "learner")

names = LEARNERS.names

__all__ = ["LEARNERS", "names"]
