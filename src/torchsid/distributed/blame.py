"""Which worker's error the launcher shows: that of the one that failed, not of those that lost it."""

import time

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from torchsid.errors import PeerLostError

_GRACE = 3.0  # seconds; the launcher takes the first failure for the cause


def tell_launcher(error: Exception) -> None:
    """Record an error where `torchrun` looks for it; a worker that lost another one lets that one go first."""
    if isinstance(error, PeerLostError):
        time.sleep(_GRACE)
    handler = get_error_handler()
    handler.initialize()
    handler.record_exception(error)
