"""`python -m torchsid` is the `torchsid` command."""

import sys

from torchsid.cli.main import main

sys.exit(main())
