"""The focus's own tests: `python3 -m unittest discover -t . -s focus/tests`, in tests/interop."""

import logging

# The test runner's debug mode says how long each step took, and which connection was just being taken when all was over.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
