"""`python -m tests.fuzz KIND SEED` runs a case and shows its traceback; with `--seconds`, it and those after it."""

import argparse
import faulthandler
import json
import sys
import time
import traceback

import torch

from tests.fuzz.case import KINDS, run
from tests.fuzz.soak import PATIENCE

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("kind", choices=KINDS)
parser.add_argument("seed", type=int)
parser.add_argument("--seconds", type=float, help="go on with the next seeds for so long; a line of JSON for each")
args = parser.parse_args()
torch.set_num_threads(1)
if args.seconds is None:
    print(run(args.kind, args.seed))
    sys.exit()
seed, end = args.seed, time.monotonic() + args.seconds
while time.monotonic() < end:
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        said = {"seed": seed, "outcome": run(args.kind, seed)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = {"seed": seed, "finding": "".join(traceback.format_exception(error))[-6000:]}
    faulthandler.cancel_dump_traceback_later()
    print("\n" + json.dumps(said), flush=True)
    seed += 1
