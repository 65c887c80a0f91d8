"""Disks that are full, slow, broken or may not be written."""

import os
import subprocess
import time

import processes
from processes import Missed
from units import Unit

MEGABYTE = 1024 * 1024


def small(megabytes):
    """The store has a disk of its own."""
    def prepare(world):
        folder = world.place.path("store")
        os.makedirs(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "faults", folder], check=True)
    return lambda setting: prepare


def full(setting, world, findings):
    """No room is left; some is made again."""
    filler = world.place.path("store/filler")
    for _number in range(setting.runs):
        found = world.broken("full disk")
        free = os.statvfs(world.place.path("store"))
        with open(filler, "wb") as file:
            try:
                file.write(b"x" * (free.f_bavail * free.f_frsize + MEGABYTE))
            except OSError:
                pass
        began = time.monotonic()
        world.gateway.wait_unready(20)
        time.sleep(setting.random.uniform(3, 6))
        refused = sum(1 for pair in world.ledger.pairs for message in pair.messages.values()
                      if message.said >= began and (message.refused or message.told))
        if not refused:
            findings.violation(1, "the disk is full and nobody was refused")
        os.unlink(filler)
        world.well(found)
        world.load.pulse(60)
    return setting.runs


def injected(what, calls, how, seconds=(3, 6)):
    """System calls of the gateway go wrong, or slowly, for a while."""
    def play(setting, world, findings):
        for _number in range(setting.runs):
            time.sleep(setting.random.uniform(0.5, 1.5))
            found = world.broken(what)
            tracer = processes.Child("strace", [
                "strace", "-f", "-qq", "-o", "/dev/null", "-p", world.gateway.child.process.pid, "-e", f"trace={calls}",
                "-e", f"inject={calls}:{how}"], world.place.folder)
            time.sleep(setting.random.uniform(*seconds))
            tracer.stop(5)
            world.well(found)
            world.load.pulse(60)
        return setting.runs
    return play


def read_only(setting, world, findings):
    """Found at a start: it says so and does not run. When it may be written again, all goes on."""
    store = world.place.path("store")
    for _number in range(setting.runs):
        time.sleep(setting.random.uniform(0.5, 1.5))
        found = world.broken("mostar")
        world.gateway.kill()
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        try:
            world.gateway.start()
            findings.violation(1, "the gateway is ready, and its store may not be written")
            world.gateway.kill()
        except Missed:
            if world.gateway.child.alive():
                findings.violation(0, "the gateway neither runs nor ends with a store that may not be written")
                world.gateway.kill()
        subprocess.run(["mount", "-o", "remount,rw", store], check=True)
        world.gateway.start()
        world.well(found)
    return setting.runs


TMPFS, STRACE = ("root", "mount", "unshare"), ("root", "strace", "unshare")
WRITES = "pwrite64,fdatasync,fsync,ftruncate"
ALL = [
    Unit("disk-full", "disk full and back", "Prosody", "direct", full, 2, 10, seconds=15, needs=TMPFS, world={"prepare": small(64)}),
    Unit("disk-read-only", "disk read-only at a start", "Prosody", "direct", read_only, 2, 10, seconds=6, needs=TMPFS,
         world={"prepare": small(64)}),
    Unit("disk-errors", "disk that takes nothing (EROFS)", "Prosody", "direct",
         injected("disk that takes nothing", WRITES, "error=EROFS"), 2, 10, seconds=12, needs=STRACE),
    Unit("disk-syncs-fail", "syncs that fail now and then (EIO)", "Prosody", "direct",
         injected("syncs that fail", "fdatasync", "error=EIO:when=3+5"), 2, 10, seconds=12, needs=STRACE),
    Unit("disk-slow", "slow fsync (0.4 s)", "Prosody", "direct",
         injected("slow fsync", "fdatasync,fsync", "delay_exit=400000", (8, 10)), 1, 5, seconds=20, needs=STRACE),
]
