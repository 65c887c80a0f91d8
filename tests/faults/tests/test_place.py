"""The names of a place get into the sample configurations, and stay what they are."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "interop")]

from place import Place  # noqa: E402


class Samples(unittest.TestCase):
    def test_a_secret_with_the_digits_of_the_usual_port_stays_what_it_is(self):
        place = Place.__new__(Place)
        place.secret, place.component_port = "b54534768a50396a2a7d56eeefb24c68", 59133
        for name in ("prosody.cfg.lua", "ejabberd.yml"):
            sample = place.sample(name)
            self.assertIn(f'"{place.secret}"', sample, name)
            self.assertIn("59133", sample, name)


if __name__ == "__main__":
    unittest.main()
