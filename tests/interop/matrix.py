"""Which servers and clients are played with each other, and what came of it."""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time

import processes
import scenes
import session_scenes
import session_steps
import table
from place import ROOT, Place
from phone import Way
from processes import Missed
from xmpp import Client

import baresip
import chat_phone
import ejabberd
import kamailio
import linphone
import mostar
import prosody
import sipp
import slixmpp_client
import strophe_client
import twinkle

SERVERS = [prosody, ejabberd]
WAYS = ["direct", "Kamailio"]
PHONES = [sipp, baresip, linphone, twinkle]
CLIENTS = [slixmpp_client, strophe_client]
QUICK = [("Prosody", "direct", "SIPp", "slixmpp"), ("Prosody", "Kamailio", "baresip", "libstrophe")]
QUICK_SESSIONS = [("Prosody", "direct", "chat phone", "slixmpp"), ("ejabberd", "Kamailio", "chat phone", "libstrophe")]


class Pair:
    """One line of the table."""

    def __init__(self, server, way, phone, client, played=scenes.ALL):
        self.server, self.way, self.phone, self.client, self.scenes = server, way, phone, client, played
        # Scene's name → "ok", "–" (not played) or "missed"; what is never reached was missed.
        self.results = {name: "missed" for name, _scene in played}

    @property
    def names(self):
        return (self.server.NAME, self.way, self.phone.NAME, self.client.NAME)

    def __str__(self):
        return " · ".join(self.names)


def main(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", metavar="WORD")
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--bless", action="store_true")
    parser.add_argument("--binary", default=os.environ.get("MOSTAR", os.path.join(ROOT, "target/debug/mostar")))
    options = parser.parse_args()
    processes.end_with_the_run()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    binary = os.path.abspath(options.binary)
    if not os.access(binary, os.X_OK):
        sys.exit(f"{binary} is not there: `cargo build`, or name another with --binary or MOSTAR")
    options.binary = binary
    pairs, absent = choose(options)
    for name in absent:
        print(f"not installed, left out: {name}")
    folder = tempfile.mkdtemp(prefix="mostar-interop-")
    print(f"{len(pairs)} pairs; everything they write is in {folder}", flush=True)
    began = time.monotonic()
    try:
        # Each pair of servers by itself, all at the same time. Daemons: Ctrl-C waits for none of them.
        groups = [threading.Thread(daemon=True, target=play_group, args=(
                      options, folder, server, way, [p for p in pairs if (p.server, p.way) == (server, way)]))
                  for server, way in dict.fromkeys((pair.server, pair.way) for pair in pairs)]
        for group in groups:
            group.start()
        for group in groups:
            group.join()
    finally:
        processes.kill_all()
        missed = sum(result == "missed" for pair in pairs for result in pair.results.values())
        if not options.keep and not missed and sys.exc_info()[0] is None:
            shutil.rmtree(folder)
    played = sum(result == "ok" for pair in pairs for result in pair.results.values())
    if not options.sessions and (options.bless or (options.full and not options.only and not missed)):
        table.write(os.path.join(ROOT, "docs/interop.md"), pairs)
    print(f"\n{played} scenes seen, {missed} missed, in {time.monotonic() - began:.0f} s")
    if missed:
        print(f"The logs are in {folder}")
    return 1 if missed else 0


def choose(options):
    every = [Pair(server, way, phone, client)
             for server in SERVERS for way in WAYS for phone in PHONES for client in CLIENTS]
    chosen = [pair for pair in every if options.full or options.only or pair.names in QUICK]
    if options.sessions:
        every = [Pair(server, way, chat_phone, client, session_scenes.ALL)
                 for server in SERVERS for way in WAYS for client in CLIENTS]
        chosen = [pair for pair in every if options.full or options.only or pair.names in QUICK_SESSIONS]
    if options.only:
        chosen = [pair for pair in chosen if options.only.lower() in str(pair).lower()]
    absent, present = set(), []
    for pair in chosen:
        parts = [pair.server, pair.phone, pair.client] + ([kamailio] if pair.way == "Kamailio" else [])
        missing = [part.NAME for part in parts if part.VERSION is None]
        absent.update(missing)
        if not missing:
            present.append(pair)
    return present, sorted(absent)


def play_group(options, folder, server_module, way_name, pairs):
    place = Place(os.path.join(folder, f"{server_module.NAME}-{way_name}".lower()), len(pairs))
    gateway_port, peer_port = processes.free_port(), processes.free_port()
    running = []
    try:
        server = server_module.Server(place)
        running.append(server)
        if way_name == "direct":
            way, peer = Way(gateway_port, peer_port), f"sip:127.0.0.1:{peer_port}"
        else:
            proxy = kamailio.Server(place, gateway_port)
            running.append(proxy)
            way, peer = Way(gateway_port, peer_port, proxy.port), f"sip:127.0.0.1:{proxy.port};transport=tcp"
        more = session_steps.configuration() if options.sessions else ""
        gateway = mostar.Gateway(place, options.binary, gateway_port, peer, more)
        running.append(gateway)
        for number, pair in enumerate(pairs):
            play(pair, place, way, place.xmpp_people[number], place.sip_people[number], server, gateway)
    except Missed as missed:
        print(f"\n{server_module.NAME}, {way_name}: could not be set up: {missed}", flush=True)
    finally:
        for process in reversed(running):
            process.kill()


def play(pair, place, way, juliet, romeo, server, gateway):
    lines = [f"\n{pair}"]
    client = Client(pair.client, place, juliet)
    phone = pair.phone.Phone(place, romeo, way)
    couple = scenes.Couple(juliet, romeo, client, phone, pair.phone, server, gateway)
    try:
        phone.start()
        client.online()
        for name, scene in pair.scenes:
            began = time.monotonic()
            try:
                scene(couple)
                result, why = "ok", ""
            except scenes.NotWith as reason:
                result, why = "–", f": {reason}"
            except Missed as missed:
                result, why = "missed", f": {missed}"
            pair.results[name] = result
            lines.append(f"  {result:7} {name} ({time.monotonic() - began:.1f} s){why}")
    except Missed as missed:
        lines.append(f"  missed  everything: {missed}")
    finally:
        phone.stop()
        if client.child is not None:
            client.child.kill()
        print("\n".join(lines), flush=True)
