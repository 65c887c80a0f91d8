"""Networks that lose, delay, double and swallow: firewall rules in the unit's own network, and proxies of the tests."""

import os
import re
import subprocess
import sys
import time

import processes
from units import Unit

# A gateway gives a link up that has been silent for 25 s, asked or not.
SILENCE = 35
LOSSES = (1, 5, 20)


def rules(*lines):
    """The rules of the firewall from now on; none: nothing is held up. How many packets the last ones have dropped."""
    said = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    if lines:
        text = "table inet faults { chain input { type filter hook input priority 0; policy accept;\n" + "\n".join(lines) + "\n}\n}"
        subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
    return sum(int(count) for count in re.findall(r"counter packets (\d+)", said))


def loss(percent):
    def play(setting, world, findings):
        found = world.broken(f"loss of {percent} %")
        # Phones, proxy and gateway, and the component stream.
        by_chance = f"numgen random mod 100 < {percent} counter drop"
        rules(f"meta l4proto udp {by_chance}", f"tcp dport {world.place.component_port} {by_chance}",
              f"tcp sport {world.place.component_port} {by_chance}")
        time.sleep(60 if setting.full else 12)
        dropped = rules()
        print(f"{dropped} packets were dropped")
        if not dropped:
            findings.violation(0, "no packet was dropped")
        world.well(found)
        return 1
    return play


def half_open(setting, world, findings):
    """The component link: nothing comes through any more, and nobody is told."""
    port = world.place.component_port
    for _number in range(setting.runs):
        time.sleep(2)
        found = world.broken("half-open link")
        rules(f"tcp dport {port} drop", f"tcp sport {port} drop")
        time.sleep(SILENCE)
        rules()
        # ejabberd keeps the old stream beside the new one and gives each a part, until TCP tells it that nobody is there.
        world.gateway.wait_ready(90)
        processes.wait("one stream is left", lambda: world.links() == 1, 150)
        world.well(found)
        world.load.pulse(60)
    return setting.runs


def half_open_sip(setting, world, findings):
    """The connection between Kamailio and the gateway, likewise."""
    for _number in range(setting.runs):
        time.sleep(2)
        found = world.broken("half-open SIP connection")
        rules(*(f"tcp {side} {port} drop" for side in ("sport", "dport") for port in (world.gateway_port, world.proxy.port)))
        time.sleep(SILENCE)
        rules()
        world.well(found)
        world.load.pulse(90)
    return setting.runs


def between(world, kind, *ports):
    """Starts a proxy of the tests."""
    pairs = [f"{port}={to}" for port, to in ports]
    child = processes.Talker(f"between-{kind}", [sys.executable, os.path.join(os.path.dirname(__file__), "between.py"), kind, *pairs],
                             world.place.folder)
    child.events.wait("the proxy listens", lambda event: "ready" in event)
    return child


def troubled(world):
    """Both ways between phones and gateway, late, out of order, twice; and the component stream late."""
    to_gateway, to_phones, link = (processes.free_port() for _ in range(3))
    world.things += [between(world, "udp", (to_gateway, world.gateway_port), (to_phones, world.sip_port)),
                     between(world, "tcp", (link, world.place.component_port))]
    world.hop, world.reached_at, world.peer = to_gateway, to_phones, f"sip:127.0.0.1:{to_phones}"
    world.link = f"127.0.0.1:{link}"


def go_on(setting, world, findings):
    found = world.broken("delay")
    time.sleep(60 if setting.full else 12)
    world.well(found)
    return 1


def link_through_proxy(world):
    link = processes.free_port()
    world.stream = between(world, "tcp", (link, world.place.component_port))
    world.things.append(world.stream)
    world.link = f"127.0.0.1:{link}"


def stalled(setting, world, findings):
    """The XMPP server takes nothing more, while it goes on sending."""
    for _number in range(setting.runs):
        time.sleep(1)
        found = world.broken("stalled link")
        world.stream.process.stdin.write(b"stall\n")
        world.stream.process.stdin.flush()
        time.sleep(60 if setting.full else 15)
        world.stream.process.stdin.write(b"flow\n")
        world.stream.process.stdin.flush()
        world.well(found)
        world.load.pulse(60)
    return setting.runs


def late_answers(setting, world, findings):
    """The SIP peer answers after 40 s, when nobody waits any more."""
    found = world.broken("late answers")
    world.load.sip.delay = 40.0
    time.sleep(45 if setting.full else 4)
    world.load.sip.delay = 0.0
    # What was asked meanwhile gets its late answer.
    time.sleep(42)
    world.well(found)
    return 1


ROOT = ("root", "nft", "unshare")
ALL = [
    *(Unit(f"loss-{percent}", f"{percent} % packet loss", server, way, loss(percent), seconds=40, needs=ROOT)
      for percent, server, way in zip(LOSSES, ("Prosody", "ejabberd", "Prosody"), ("direct", "Kamailio", "direct"))),
    Unit("trouble", "delay, reorder and duplicates", "Prosody", "direct", go_on, seconds=40, world={"prepare": lambda setting: troubled}),
    Unit("half-open-prosody", "half-open component link", "Prosody", "direct", half_open, 1, 3, seconds=60, needs=ROOT),
    Unit("half-open-ejabberd", "half-open component link", "ejabberd", "direct", half_open, 1, 3, seconds=60, needs=ROOT, slow=True),
    Unit("half-open-sip", "half-open SIP connection", "Prosody", "Kamailio", half_open_sip, 1, 3, seconds=60, needs=ROOT, slow=True),
    Unit("stall", "component link that stalls", "Prosody", "direct", stalled, 1, 2, seconds=60,
         world={"prepare": lambda setting: link_through_proxy}),
    Unit("late-answers", "SIP peer that answers after 40 s", "Prosody", "direct", late_answers, seconds=120, slow=True,
         world={"say": 3.0, "presence": False}),
]
