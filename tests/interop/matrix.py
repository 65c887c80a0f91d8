"""Which servers and clients are played with each other, and what came of it."""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback

import processes
import room_scenes
import scenes
import table
from place import ROOT, Place
from phone import Way
from processes import Missed
from xmpp import Client

import baresip
import chat_phone
import conference_focus
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
# Who plays what.
PHONES = {table.EVERYDAY: [sipp, baresip, linphone, twinkle], table.NOTICES: [linphone], table.SESSIONS: [chat_phone],
          table.ROOMS: [chat_phone], table.CONFERENCES: [conference_focus]}
CLIENTS = [slixmpp_client, strophe_client]
QUICK = {
    table.EVERYDAY: [("Prosody", "direct", "SIPp", "slixmpp"), ("Prosody", "Kamailio", "baresip", "libstrophe")],
    table.NOTICES: [("Prosody", "Kamailio", "liblinphone", "slixmpp")],
    table.SESSIONS: [("Prosody", "direct", "chat phone", "slixmpp"), ("ejabberd", "Kamailio", "chat phone", "libstrophe")],
    table.ROOMS: [("Prosody", "Kamailio", "chat phone", "libstrophe"), ("ejabberd", "direct", "chat phone", "slixmpp")],
    table.CONFERENCES: [("Prosody", "Kamailio", "focus", "slixmpp"), ("ejabberd", "direct", "focus", "libstrophe")],
}
# Who is played with servers and a gateway of its own.
OWN = (table.SESSIONS, table.ROOMS, table.CONFERENCES)
# How many groups are played at the same time.
AT_ONCE = 4


class Pair:
    """One conversation, in the table of its kind."""

    def __init__(self, kind, server, way, phone, client):
        self.kind, self.server, self.way, self.phone, self.client = kind, server, way, phone, client
        # Scene's name → "ok", "–" (not played) or "missed"; what is never reached was missed.
        self.results = {name: "missed" for name, _scene in kind.scenes}

    @property
    def names(self):
        return (self.server.NAME, self.way, self.phone.NAME, self.client.NAME)

    @property
    def group(self):
        """Pairs of a group share servers and a gateway. Chat sessions have their own: they kill it, and want long stanzas; and
        rooms, which want many people."""
        return self.server, self.way, self.kind if self.kind in OWN else None

    def __str__(self):
        return " · ".join(self.names) + ("" if self.kind is table.EVERYDAY else f" · {self.kind.title}")


def main(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", metavar="WORD")
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--rooms", action="store_true")
    parser.add_argument("--conferences", action="store_true")
    parser.add_argument("--scene", metavar="WORD", action="append")
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
        # Daemons: Ctrl-C waits for none of them.
        room = threading.BoundedSemaphore(AT_ONCE)
        groups = [threading.Thread(daemon=True, target=play_group, args=(
                      room, options, folder, [pair for pair in pairs if pair.group == group]))
                  for group in dict.fromkeys(pair.group for pair in pairs)]
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
    if options.bless or (options.full and not options.only and not missed):
        table.write(os.path.join(ROOT, "docs/interop.md"), pairs)
    print(f"\n{played} scenes seen, {missed} missed, in {time.monotonic() - began:.0f} s")
    if "MOSTAR_RESULTS" in os.environ:
        with open(os.environ["MOSTAR_RESULTS"], "a", encoding="utf-8") as results:
            results.write(f"invariant\tscenes with real servers and clients\tas the scenes say\t{played}\t{missed}\n")
    if missed:
        print(f"The logs are in {folder}")
    return 1 if missed else 0


def choose(options):
    # The slowest first.
    named = [kind for kind, chosen in ((table.SESSIONS, options.sessions), (table.ROOMS, options.rooms),
                                 (table.CONFERENCES, options.conferences)) if chosen]
    kinds = named or reversed(table.KINDS)
    every = [Pair(kind, server, way, phone, client)
             for kind in kinds for server in SERVERS for way in WAYS for phone in PHONES[kind] for client in CLIENTS]
    chosen = [pair for pair in every if options.full or options.only or pair.names in QUICK[pair.kind]]
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


def play_group(room, options, folder, pairs):
    with room:
        server, way, kind = pairs[0].group
        name = f"{server.NAME}-{way}{f'-{kind.title.split()[-1]}' if kind else ''}".lower()
        crowd = room_scenes.CROWD if kind in (table.ROOMS, table.CONFERENCES) else 0
        try:
            place = Place(os.path.join(folder, name), len(pairs), crowd)
            play_pairs(place, options, pairs, server, way)
        except Missed as missed:
            print(f"\n{name}: could not be set up: {missed}", flush=True)


def play_pairs(place, options, pairs, server_module, way_name):
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
        gateway = mostar.Gateway(place, options.binary, gateway_port, peer, focus=pairs[0].kind is table.CONFERENCES)
        running.append(gateway)
        for number, pair in enumerate(pairs):
            play(options, pair, place, way, place.xmpp_people[number], place.sip_people[number], server, gateway)
    finally:
        for process in reversed(running):
            process.kill()


def play(options, pair, place, way, juliet, romeo, server, gateway):
    lines = [f"\n{pair}"]
    client = Client(pair.client, place, juliet)
    phone = pair.phone.Phone(place, romeo, way)
    couple = scenes.Couple(juliet, romeo, client, phone, pair.phone, server, gateway)
    try:
        phone.start()
        client.online()
        for name, scene in pair.kind.scenes:
            left_out = name in pair.kind.slow and not options.full and not options.only
            if left_out or options.scene and not any(word in name for word in options.scene):
                pair.results[name] = "–"
                continue
            began = time.monotonic()
            try:
                scene(couple)
                result, why = "ok", ""
            except scenes.NotWith as reason:
                result, why = "–", f": {reason}"
            except Missed as missed:
                result, why = "missed", f": {missed}"
            except Exception:  # A mistake of ours is no reason to play nothing more.
                result, why = "missed", f": {traceback.format_exc()}"
            pair.results[name] = result
            lines.append(f"  {result:7} {name} ({time.monotonic() - began:.1f} s){why}")
    except Missed as missed:
        lines.append(f"  missed  everything: {missed}")
    finally:
        phone.stop()
        for other in [client, *couple.more]:
            if other is not phone and other.child is not None:
                other.child.kill()
        print("\n".join(lines), flush=True)
