"""What a slow line costs a pipeline: SID, GPipe and 1F1B on two workers, joined by a line of given delay and rate. Needs root.

    sudo .venv/bin/python benchmarks/slow_links.py line      # what the line does to sockets and to gloo's messages
    sudo .venv/bin/python benchmarks/slow_links.py train     # what it does to training steps

Both workers are on this machine, in two network namespaces, one thread each; `slow_link/` makes the line. Writes `line.json` and
`line.md`, or `train.json`, `train.md` and `train.svg`, into the folder given by `--out`.
"""

import argparse
import sys
from pathlib import Path

from slow_link import line, train
from slow_link.namespaces import LinkError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True, metavar="{line,train}")
    for verb in (line, train):
        under = verbs.add_parser(verb.__name__.rpartition(".")[2], help=verb.__doc__.splitlines()[0])
        under.add_argument("--out", type=Path, default=Path("benchmarks/results/slow-links"))
        under.add_argument("--delays", type=float, nargs="*", default=verb.DELAYS_MS, metavar="MS", help="one way")
        verb.add_arguments(under)
        under.set_defaults(run=verb.run)
    args = parser.parse_args()
    try:
        args.run(args)
    except LinkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
