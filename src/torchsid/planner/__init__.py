"""Plan a training on machines that are not there: where to cut, what fits, how fast, what ends the scaling."""
