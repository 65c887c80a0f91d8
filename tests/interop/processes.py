"""Processes of a run: each in a group of its own, ended with everything it started; waiting with a deadline."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

_started = []
_ports = set()
_ending = threading.Event()


class Missed(Exception):
    """Something that should have been seen was not; the text says what."""


def free_port():
    """A port of 127.0.0.1 that is free for TCP and UDP and that nobody else in this run was given. So is the next one:
    some phones take it for TLS."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as after:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
                after.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
        if not _ports & {port, port + 1}:
            _ports.update((port, port + 1))
            return port


def wait(what, test, seconds=20, child=None):
    """What `test` gives, once that is true. Missed when time is up or the child ends."""
    until = time.monotonic() + seconds
    while True:
        found = test()
        if found:
            return found
        if child is not None and not child.alive():
            raise Missed(f"{what}: {child.name} ended; see {child.log}")
        if time.monotonic() > until:
            raise Missed(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """A process in its own group. Its output is in `log`."""

    def __init__(self, name, command, folder, environment=None, stdin=False, stdout=False):
        if _ending.is_set():
            raise Missed("the run ends")
        self.name = name
        self.log = os.path.join(folder, f"{name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, start_new_session=True, stderr=log,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE if stdout else log,
                # Phones bring the sound server's library along, which else makes a folder in /tmp.
                env={**os.environ, "XDG_RUNTIME_DIR": folder, **(environment or {})})
        _started.append(self)

    def alive(self):
        return self.process.poll() is None

    def signal_group(self, number):
        try:
            os.killpg(self.process.pid, number)
            return True
        except ProcessLookupError:
            return False

    def stop(self, seconds=10):
        """Asks, then kills; the whole group either way. Whether asking was enough."""
        asked = self.signal_group(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            asked = False
        self.kill()
        return asked

    def kill(self):
        self.signal_group(signal.SIGKILL)
        self.process.wait()
        if self in _started:
            _started.remove(self)


def kill_all():
    _ending.set()
    # What was started last goes first: clients before servers.
    for child in list(reversed(_started)):
        child.kill()


def end_with_the_run():
    """Nothing outlives the run, however it ends."""
    atexit.register(kill_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


class Events:
    """What happened, in order; any thread may add, and wait."""

    def __init__(self):
        self.list = []
        self.changed = threading.Condition()

    def add(self, event):
        with self.changed:
            self.list.append(event)
            self.changed.notify_all()

    def mark(self):
        """A place to wait from: what happened before does not count."""
        with self.changed:
            return len(self.list)

    def find(self, test, since=0):
        with self.changed:
            return next((event for event in self.list[since:] if test(event)), None)

    def wait(self, what, test, seconds=20, since=0):
        until = time.monotonic() + seconds
        with self.changed:
            while True:
                found = next((event for event in self.list[since:] if test(event)), None)
                if found is not None:
                    return found
                left = until - time.monotonic()
                if left <= 0:
                    raise Missed(f"{what}: not within {seconds} s; seen: {self._seen(since)}")
                self.changed.wait(left)

    def _seen(self, since):
        return "; ".join(str(event) for event in self.list[since:][-4:]) or "nothing"


class Talker(Child):
    """A child that takes commands and tells events, one JSON object a line."""

    def __init__(self, name, command, folder, environment=None):
        super().__init__(name, command, folder, environment, stdin=True, stdout=True)
        self.events = Events()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            try:
                self.events.add(json.loads(line))
            except ValueError:
                with open(self.log, "ab") as log:
                    log.write(line)

    def tell(self, **command):
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise Missed(f"{self.name} ended; see {self.log}") from None


def package_version(*names):
    """The version of the first of these Debian packages that is installed; none when no one is."""
    for name in names:
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name],
                               capture_output=True, text=True, check=False).stdout
        if shown.startswith("installed "):
            version = shown.split()[1].split(":")[-1]
            return version.split("-")[0].split("+")[0]
    return None
