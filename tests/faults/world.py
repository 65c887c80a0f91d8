"""Servers, gateway and load of one unit, and the judgement at its end."""

import subprocess
import time

import checks
import ejabberd
import kamailio
import mostar
import processes
import prosody
from ledger import TO_XMPP, Ledger
from load import Load
from place import Place

COUPLES = 3
SERVERS = {"Prosody": prosody, "ejabberd": ejabberd}
# How soon presence is true again, after all is mended. The second for our own measuring.
TO_XMPP_WATCHERS, TO_SIP_WATCHERS, MEASURING = 2.0, 7.0, 1.0
# A restarted Kamailio must not challenge what it has let through before: the phone would say it again under another name.
NONCES = 'modparam("auth", "secret", "{}")\nmodparam("auth", "nonce_expire", 7200)\n'
PLAIN = "c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n"


class World:
    """`way`: "direct" or "Kamailio". `presence`: whether people see each other; in Kamailio's memory nothing outlives it. `room`: behind
    Kamailio, and where the XMPP server lives: its room would not outlive it. `prepare`: called with the world before its gateway
    starts; may change how everybody reaches each other."""

    def __init__(self, folder, binary, server, way, seed, presence=True, couples=COUPLES, more="", say=None, prepare=None,
                 room=False):
        self.server_name, self.way, self.seed = server, way, seed
        # One more couple writes in a session, where a proxy can tell their phone from the others; and one is in a room.
        self.place = place = Place(folder, couples, crowd=int(way != "direct") + room, quiet=True)
        self.ledger = Ledger(place.path("events.jsonl"))
        gateway_port, sip_port = processes.free_port(), processes.free_port()
        module = SERVERS[server]
        self.server = module.Server(place, PLAIN) if module is prosody else module.Server(place)
        self.proxy, self.things = None, []
        self.sip_port, self.gateway_port = sip_port, gateway_port
        # Where phones send everything, and where they are for others; where the gateway finds its two neighbours.
        self.hop, self.reached_at, self.peer = gateway_port, sip_port, f"sip:127.0.0.1:{sip_port}"
        self.link, self.environment = f"127.0.0.1:{place.component_port}", {}
        if way != "direct":
            self.proxy = kamailio.Server(place, gateway_port, NONCES.format(place.secret))
            self.hop, self.peer = self.proxy.port, f"sip:127.0.0.1:{self.proxy.port};transport=tcp"
        if prepare:
            prepare(self)
        self.gateway = mostar.Gateway(place, binary, gateway_port, self.peer, more, server=self.link,
                                      environment=self.environment)
        self.load = Load(place, self.ledger, self.hop, (sip_port, self.reached_at), way != "direct",
                         presence and way == "direct", seed, **({"say": say} if say else {}))
        self.load.start()
        if module is ejabberd and self.load.presence:
            self._keep_rosters()
        self.mended = time.monotonic()

    def _keep_rosters(self):
        """ejabberd hands rosters to the disk minutes later: a kill would make it forget who sees whom."""
        found = self.broken("ejabberd")
        self.server.stop()
        self.server.start()
        self.well(found)

    # Faults.

    def broken(self, what):
        return self.ledger.break_begins(what)

    def links(self):
        """How many component streams the XMPP server believes to have; of its own network, which only root's units have."""
        port = f":{self.place.component_port:04X}"
        with open("/proc/net/tcp", encoding="ascii") as file:
            fields = [line.split() for line in file]
        return sum(1 for line in fields if line[1].endswith(port) and line[3] == "01")

    def well(self, found=None, seconds=90):
        """Waits until gateway and people are there again; then the break is over."""
        self.gateway.wait_ready(seconds)
        processes.wait("all XMPP users are online", self.load.online, 60)
        self.mended = time.monotonic()
        if found:
            self.ledger.break_ends(found)

    # The end.

    def rest(self, findings, seconds=100):
        """Nobody says anything more: waits until everything has its fate, and looks whether presence is true in time."""
        self.load.pause()
        began = time.monotonic()
        quiet_since, last = None, None
        while True:
            now = (sum(len(m.heard) + len(m.told) + len(m.again) for p in self.ledger.pairs for m in p.messages.values()),
                   self.waits())
            if now != last or self.load.waiting or now[1]:
                quiet_since, last = time.monotonic(), now
            quiet = time.monotonic() - quiet_since
            if quiet > (2 if self._true() and not self._untold() else 15):
                break
            if quiet > 2 and self._true() and time.monotonic() - began > 70:
                break
            if time.monotonic() - began > seconds:
                findings.violation(1, f"no rest within {seconds} s: {now[1]} messages wait in the gateway, "
                                      f"{self.load.waiting} requests of phones have no answer")
                break
            time.sleep(0.1)

    def _true(self):
        return self.load.true() and (self.load.room is None or self.load.room.agree())

    def _untold(self):
        """Accepted messages of SIP users without a fate: pairs without notifications hear of those once a minute."""
        return [message for pair, message in self.ledger.unsettled() if pair.way == TO_XMPP and message.accepted]

    def _look_at_the_server(self):
        """What a server took for a client that was just coming, it may keep until the next time that the client comes."""
        for jid in {pair.recipient for pair, message in self.ledger.unsettled() if pair.way == TO_XMPP and message.accepted}:
            self.load.later(self.load.clients[jid].again)
        until = time.monotonic() + 6
        while self._untold() and time.monotonic() < until:
            time.sleep(0.1)

    def waits(self):
        status, text = self.gateway.get("/metrics")
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in text.splitlines()
                   if line.startswith(("mostar_messages_queued", "mostar_messages_in_flight"))) if status == 200 else -1

    def judge(self, findings):
        """At rest, everything that can be seen from outside; then the gateway is stopped and its store is read."""
        limits = {}
        for shown in self.ledger.shown.values():
            since = max(self.mended, shown.handed or shown.since if shown.way == TO_XMPP else shown.since)
            late = TO_XMPP_WATCHERS if shown.way == TO_XMPP else TO_SIP_WATCHERS
            limits[shown] = since + late + MEASURING
        checks.of_presence(self.ledger, findings, limits)
        if self.load.room:
            self.load.room.judge(findings)
        self._look_at_the_server()
        checks.of_messages(self.ledger, findings)
        status, text = self.gateway.get("/metrics")
        if status == 200:
            checks.of_figures(text, findings)
        else:
            findings.violation(0, "the gateway does not answer at /metrics")
        if not self.gateway.stop():
            findings.violation(0, f"the gateway did not end by itself with status 0: {self.gateway.child.process.returncode}")
        self.read_store(findings)
        for line in self.gateway.log().splitlines():
            if "panicked" in line:
                findings.violation(0, line)

    def read_store(self, findings):
        """`mostar fsck`, where the binary knows it. A calendar that was wrong is what it would find."""
        if self.environment:
            return
        commands = subprocess.run([self.gateway.binary, "--help"], capture_output=True, text=True, check=False).stdout
        if "fsck" not in commands:
            return
        found = subprocess.run([self.gateway.binary, "fsck", "-c", self.gateway.config], capture_output=True, text=True,
                               timeout=120, check=False)
        if found.returncode != 0:
            findings.violation(1, f"mostar fsck: {(found.stdout + found.stderr).strip()[-500:]}")

    def end(self):
        for thing in (*self.things, getattr(self, "gateway", None), self.proxy, self.server):
            if thing is not None:
                thing.kill()
        if not hasattr(self, "load"):
            return
        try:
            self.load.stop()
        except Exception as error:  # What is to be told has been told.
            print(f"the load did not end: {error}")
