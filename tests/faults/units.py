"""What is played: each unit is one fault between one set of servers, with a load, in a process and namespaces of its own."""

import os
import random
import shutil
import time
import traceback
from dataclasses import dataclass, field

from checks import Findings
from processes import Missed
from world import World


@dataclass(frozen=True)
class Unit:
    name: str
    # Which row of the table it belongs to, and the invariants that it tries.
    fault: str
    server: str
    way: str
    # play(setting, world, findings) → how often the fault came.
    play: object
    # How often, in a short run and in a full one.
    short: int = 1
    full: int = 1
    # A short run leaves it out.
    slow: bool = False
    # Programs without which it cannot be played; "root" too.
    needs: tuple = ()
    # Further arguments of its world; or what makes the world.
    world: dict = field(default_factory=dict)
    # Roughly how long one fault takes, for the order of units and for their time limit.
    seconds: float = 3.0
    # How many runs share a world: an interruption of a full run costs so many, and parts are played side by side.
    part: int = 20

    @property
    def servers(self):
        return self.server if self.way == "direct" else f"{self.server} and {self.way}"


@dataclass
class Setting:
    """What a unit is told."""
    folder: str
    binary: str
    seed: int
    full: bool
    runs: int

    def __post_init__(self):
        self.random = random.Random(self.seed)


def play(unit, setting, keep=False):
    """Plays a unit; what came of it as a dict."""
    findings, began, runs = Findings(), time.monotonic(), 0
    world = None
    try:
        world = World(os.path.join(setting.folder, "place"), setting.binary, unit.server, unit.way, setting.seed,
                      **{name: value(setting) if callable(value) else value for name, value in unit.world.items()})
        runs = unit.play(setting, world, findings)
        world.well()
        world.rest(findings)
        world.judge(findings)
    except Missed as missed:
        findings.violation(0, f"missed: {missed}")
    except Exception:  # A mistake of ours is told like any other.
        findings.violation(0, traceback.format_exc())
    finally:
        if world is not None:
            world.end()
            if not keep and not findings.violations:
                shutil.rmtree(world.place.folder, ignore_errors=True)
    return {"unit": unit.name, "fault": unit.fault, "servers": unit.servers, "runs": runs, "seed": setting.seed,
            "count": dict(findings.count), "violations": findings.violations, "seconds": round(time.monotonic() - began, 1)}
