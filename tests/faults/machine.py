"""A machine with little memory, and one whose clock jumps."""

import os
import subprocess
import time

from units import Unit

# A cap that the gateway keeps to with this load while nobody takes anything.
CAP = 160 * 1024 * 1024
DAYS = 10 * 24 * 3600
LIBRARIES = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1")


class Cap:
    """A memory cgroup of either version."""

    def __init__(self, limit):
        # What systemd or anybody else mounted where; a line of /proc/mounts says the type.
        with open("/proc/mounts", encoding="ascii") as file:
            mounts = [line.split()[1:4] for line in file]
        first = next((place for place, kind, options in mounts if kind == "cgroup" and "memory" in options.split(",")), None)
        second = next((place for place, kind, _options in mounts if kind == "cgroup2"
                       and "memory" in open(os.path.join(place, "cgroup.controllers"), encoding="ascii").read().split()), None)
        if first is None and second is None:
            raise OSError("no memory cgroup is mounted")
        self.first = first is not None
        self.folder = os.path.join(first or second, f"mostar-faults-{os.getpid()}-{int(time.time())}")
        if not self.first:
            with open(os.path.join(second, "cgroup.subtree_control"), "w", encoding="ascii") as file:
                file.write("+memory")
        os.mkdir(self.folder)
        self._write("memory.limit_in_bytes" if self.first else "memory.max", limit)

    def _write(self, name, value):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(str(value))

    def add(self, pid):
        self._write("cgroup.procs", pid)

    def peak(self):
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if os.path.exists(os.path.join(self.folder, name)):
                with open(os.path.join(self.folder, name), encoding="ascii") as file:
                    return int(file.read())
        return 0

    def kill(self):
        """When whoever was in it is gone."""
        try:
            os.rmdir(self.folder)
        except OSError:
            pass  # It is left empty, and costs nothing.


def capped(setting, world, findings):
    """Nobody takes what the gateway has, on either side, while people write and write."""
    cap = Cap(CAP)
    world.things.append(cap)
    # After the gateway, which is in it.
    cap.add(world.gateway.child.process.pid)
    pid = world.gateway.child.process.pid
    for _number in range(setting.runs):
        found = world.broken(f"{world.server_name} (memory)")
        world.load.every = 0.02
        world.server.kill()
        time.sleep(12 if setting.full else 5)
        world.server.start()
        world.load.sip.silent = True
        time.sleep(12 if setting.full else 5)
        world.load.sip.silent = False
        world.load.every = 0.4
        world.well(found)
    if not world.gateway.child.alive() or world.gateway.child.process.pid != pid:
        findings.violation(11, f"the gateway did not survive under a cap of {CAP >> 20} MiB")
    print(f"at most {cap.peak() >> 20} MiB")
    return setting.runs


def clock(world):
    """The gateway's wall clock is what a file says."""
    world.clock = world.place.path("clock")
    turn(world, 0)
    world.environment = {"LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": world.clock, "FAKETIME_NO_CACHE": "1",
                         "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}


def library():
    return next((path for path in LIBRARIES if os.path.exists(path)), None)


def turn(world, seconds):
    temporary = world.clock + ".new"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(f"{'+' if seconds >= 0 else ''}{seconds}\n")
    os.replace(temporary, world.clock)


def jumps(setting, world, findings):
    """Forward and back again, while everything goes on."""
    for number in range(setting.runs):
        direction = (DAYS, -DAYS)[number % 2]
        time.sleep(1)
        found = world.broken("clock")
        turn(world, direction)
        time.sleep(3)
        world.load.pulse(30)
        turn(world, 0)
        time.sleep(3)
        world.well(found)
        world.load.pulse(30)
    if subprocess.run(["grep", "-c", "ts=", world.gateway.child.log], capture_output=True, check=False).returncode:
        findings.violation(0, "the gateway has no log")
    return setting.runs


def jumps_and_kills(setting, world, findings):
    """It is killed in one time and starts in another."""
    for number in range(setting.runs):
        direction = (DAYS, -DAYS)[number % 2]
        for seconds in (direction, 0):
            time.sleep(setting.random.uniform(0.5, 1.5))
            found = world.broken("mostar and clock")
            world.gateway.kill()
            turn(world, seconds)
            world.gateway.start()
            world.well(found)
            world.load.pulse(30)
    return 2 * setting.runs


CLOCK = ("faketime",)
ALL = [
    Unit("memory", f"memory cap of {CAP >> 20} MiB, and nobody takes anything", "Prosody", "direct", capped, 1, 3, seconds=40,
         needs=("root", "unshare"), world={"presence": False}),
    Unit("clock", "wall clock ten days forward and back", "Prosody", "direct", jumps, 2, 6, seconds=15, needs=CLOCK,
         world={"prepare": lambda setting: clock}),
    Unit("clock-kill", "wall clock ten days forward and back, and kill -9", "Prosody", "direct", jumps_and_kills, 2, 10, seconds=10,
         needs=CLOCK, world={"prepare": lambda setting: clock, "presence": False}),
]
