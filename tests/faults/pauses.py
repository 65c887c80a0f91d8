"""Processes that stand still for a while: nobody is dead, nobody answers."""

import signal
import time

from units import Unit

# A short run's is within what the gateway waits for; a full one's is not.
SHORT, MINUTE = 5, 60


def stopped(which):
    def play(setting, world, findings):
        victim = getattr(world, which)
        pid = victim.child.process.pid
        for _number in range(setting.runs):
            time.sleep(setting.random.uniform(0.5, 2))
            found = world.broken({"gateway": "mostar", "server": world.server_name, "proxy": world.way}[which])
            victim.child.signal_group(signal.SIGSTOP)
            time.sleep(MINUTE if setting.full else SHORT)
            victim.child.signal_group(signal.SIGCONT)
            world.well(found)
            if victim.child.process.pid != pid or not victim.child.alive():
                findings.violation(0, f"{victim.child.name} did not survive")
            world.load.pulse(60)
        world.load.later(world.load.sip.refresh)
        return setting.runs
    return play


def unit(name, what, server, way, which):
    return Unit(f"stop-{name}", f"SIGSTOP of {what}", server, way, stopped(which), 1, 2, seconds=20,
                world={"presence": which != "proxy"})


ALL = [
    unit("mostar", "Mostar", "Prosody", "direct", "gateway"),
    unit("prosody", "Prosody", "Prosody", "direct", "server"),
    unit("ejabberd", "ejabberd", "ejabberd", "direct", "server"),
    unit("kamailio", "Kamailio", "Prosody", "Kamailio", "proxy"),
]
