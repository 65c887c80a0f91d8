"""The phone's own tests: `python3 -m unittest discover -t . -s chat/tests`, in tests/interop."""

import logging

# The test runner's debug mode says how long each step took.
logging.getLogger("asyncio").setLevel(logging.ERROR)
