"""kill -9 at random moments under load."""

import time

import processes
from units import Unit


def killed(which, outage=0.6, both=None):
    """Kills `which` ("gateway", "server", "proxy") again and again; each time all comes back before the next. Each time of `both`
    it takes the gateway along: between two attempts to reach a server that went soon after it came, the gateway pauses longer and
    longer.
    """
    def play(setting, world, findings):
        victim = getattr(world, which)
        name = {"gateway": "mostar", "server": world.server_name, "proxy": world.way}[which]
        for number in range(1, setting.runs + 1):
            time.sleep(setting.random.uniform(0.05, 1.2))
            together = both is not None and number % both == 0
            found = world.broken(f"{name} and mostar" if together else name)
            victim.kill()
            if together:
                time.sleep(setting.random.uniform(0.0, 0.1))
                world.gateway.kill()
            time.sleep(setting.random.uniform(0.0, outage))
            victim.start()
            if together:
                world.gateway.start()
            if which == "proxy":
                world.load.register()
            world.well(found)
            if world.load.room and number % 3 == 1:
                # It takes longer than the other pauses to enter a room, and something should be said in it.
                processes.wait("the room's members are the same on both sides", world.load.room.agree, 40)
                time.sleep(1.5)
        return setting.runs
    return play


ALL = [
    Unit("kill-mostar-prosody", "kill -9 of Mostar", "Prosody", "direct", killed("gateway"), 10, 100, seconds=2),
    Unit("kill-mostar-ejabberd", "kill -9 of Mostar", "ejabberd", "Kamailio", killed("gateway"), 10, 100, seconds=2,
         world={"room": True}),
    Unit("kill-prosody", "kill -9 of Prosody", "Prosody", "direct", killed("server", both=3), 20, 200, seconds=4),
    Unit("kill-ejabberd", "kill -9 of ejabberd", "ejabberd", "direct", killed("server", both=2), 20, 200, seconds=8, part=10),
    Unit("kill-kamailio", "kill -9 of Kamailio", "Prosody", "Kamailio", killed("proxy"), 20, 200, seconds=2),
]
