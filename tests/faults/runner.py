"""Plays units, each in a process and, for root, in namespaces of its own; some at a time; and tells what came of them."""

import argparse
import functools
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import disks
import kamailio
import kills
import machine
import names
import network
import pauses
import processes
import report
import units
import world
from place import ROOT

UNITS = [*kills.ALL, *pauses.ALL, *network.ALL, *disks.ALL, *machine.ALL, *names.ALL]
AT_ONCE = 3
# A machine with more to do may be so much slower than the times in the units.
PATIENCE = 4
HERE = os.path.dirname(os.path.abspath(__file__))


class Part:
    """A part of a unit: so many runs of its fault, in one world."""

    def __init__(self, unit, number, runs, seed, full):
        self.unit, self.number, self.runs, self.full = unit, number, runs, full
        self.seed = seed + number
        self.name = f"{unit.name}-{number}"

    @property
    def seconds(self):
        return 30 + self.runs * self.unit.seconds


def main(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("MOSTAR", os.path.join(ROOT, "target/debug/mostar")))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--runs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--bless", action="store_true")
    # How this program starts itself for one part.
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    processes.end_with_the_run()
    if options.list:
        for unit in UNITS:
            print(f"{unit.name:28} {unit.fault} ({unit.servers})")
        return 0
    options.binary = os.path.abspath(options.binary)
    if options.part:
        return inside(options)
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"{options.binary} is not there: `cargo build`, or name another with --binary or MOSTAR")
    return outside(options)


def inside(options):
    """One part; its result goes to the file `result`."""
    order = json.loads(options.part)
    if has_namespaces():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    unit = next(unit for unit in UNITS if unit.name == order["unit"])
    setting = units.Setting(order["folder"], options.binary, order["seed"], options.full, order["runs"])
    result = units.play(unit, setting, options.keep)
    with open(order["result"], "w", encoding="utf-8") as file:
        json.dump(result, file)
    return 0


def outside(options):
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000_000)
    chosen = [unit for unit in UNITS if (not options.names and (options.full or not unit.slow))
              or any(word in unit.name for word in options.names)]
    results, parts = [], []
    for unit in chosen:
        missing = missing_for(unit)
        if missing:
            print(f"skipped: {unit.name}: needs {missing}", flush=True)
            results.append({"unit": unit.name, "fault": unit.fault, "servers": unit.servers, "skipped": f"needs {missing}"})
            continue
        left, number = options.runs or (unit.full if options.full else unit.short), 0
        while left > 0:
            parts.append(Part(unit, number, min(left, unit.part), seed, options.full))
            left, number = left - unit.part, number + 1
    state = State(options)
    done = [found for part in parts if (found := state.done(part)) is not None]
    parts = [part for part in parts if state.done(part) is None]
    if done:
        print(f"{len(done)} parts were played before, {len(parts)} are left", flush=True)
    folder = tempfile.mkdtemp(prefix="mostar-faults-")
    print(f"seed {seed}; {len(parts)} parts; everything they write is in {folder}", flush=True)
    began = time.monotonic()
    played = play_all(options, folder, sorted(parts, key=lambda part: -part.seconds), state)
    results += done + played
    order = {unit.name: place for place, unit in enumerate(UNITS)}
    results.sort(key=lambda result: order[result["unit"]])
    violated = any(result.get("violations") for result in results)
    whole = len(played) == len(parts) and not options.names
    if not violated and not options.keep:
        shutil.rmtree(folder)
    print("\n" + report.table(results))
    report.tell(results)
    if options.bless or (options.full and whole and not violated):
        report.write(os.path.join(ROOT, "docs/faults.md"), results)
    print(f"\n{time.monotonic() - began:.0f} s")
    if violated:
        print(f"The logs are in {folder}; the same moments again: --seed {seed}")
    return 1 if violated or len(played) != len(parts) else 0


def play_all(options, folder, parts, state):
    """Their results, in the order in which they ended."""
    lock, results, waiting = threading.Lock(), [], list(parts)

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                part = waiting.pop(0)
            result = play(options, folder, part)
            with lock:
                results.append(result)
                print(report.line(part.name, result), flush=True)
                state.keep(part, result)
    workers = [threading.Thread(target=work, daemon=True) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def play(options, folder, part):
    place, result = os.path.join(folder, part.name), os.path.join(folder, f"{part.name}.json")
    os.makedirs(place)
    order = json.dumps({"unit": part.unit.name, "folder": place, "seed": part.seed, "runs": part.runs, "result": result})
    command = [sys.executable, os.path.join(HERE, "run"), "--binary", options.binary, "--part", order]
    command += ["--full"] * options.full + ["--keep"] * options.keep
    if has_namespaces():
        # Firewall, mounts and ports of its own; and whatever it started ends with it.
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *command]
    child = processes.Child(f"{part.name}", command, folder)
    try:
        child.process.wait(60 + PATIENCE * part.seconds)
    except subprocess.TimeoutExpired:
        child.signal_group(signal.SIGTERM)
        time.sleep(3)
    child.kill()
    try:
        with open(result, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {"unit": part.unit.name, "fault": part.unit.fault, "servers": part.unit.servers, "runs": 0, "count": {},
                "seed": part.seed, "seconds": 0, "violations": [[0, f"the unit did not end: see {child.log}"]]}


@functools.cache
def has_namespaces():
    """Whether units are played in namespaces of their own: root may, but for root of some containers."""
    try_it = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "ip", "link"]
    is_there = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "ip"))
    return is_there and subprocess.run(try_it, capture_output=True, check=False).returncode == 0


def missing_for(unit):
    """What a unit needs and this machine does not have; else nothing."""
    modules = [world.SERVERS[unit.server], *([kamailio] if unit.way == "Kamailio" else [])]
    missing = [module.NAME for module in modules if module.VERSION is None]
    # What every part of root's is played in.
    for need in unit.needs:
        if need == "root":
            if not has_namespaces():
                missing.append("root")
        elif shutil.which(need) is None:
            missing.append(need)
    return ", ".join(sorted(missing))


class State:
    """What a full run has done, for this binary; nothing for a short one."""

    def __init__(self, options):
        self.folder = None
        if not options.full:
            return
        with open(options.binary, "rb") as file:
            version = hashlib.sha256(file.read()).hexdigest()[:16]
        base = os.environ.get("FAULTS_STATE", os.path.join(ROOT, "target/faults"))
        self.folder = os.path.join(base, version)
        os.makedirs(self.folder, exist_ok=True)

    def _path(self, part):
        return os.path.join(self.folder, f"{part.name}-{part.runs}.json")

    def done(self, part):
        if self.folder is None or not os.path.exists(self._path(part)):
            return None
        with open(self._path(part), encoding="utf-8") as file:
            return json.load(file)

    def keep(self, part, result):
        """What was violated is played again."""
        if self.folder is not None and not result["violations"]:
            with open(self._path(part), "w", encoding="utf-8") as file:
                json.dump(result, file)
