"""slixmpp, an XMPP library for Python: as a client that speaks JSON lines (see `xmpp.py`)."""

import asyncio
import inspect
import json
import os
import sys

import processes

KEY = "slixmpp"
NAME = "slixmpp"
VERSION = processes.package_version("python3-slixmpp")


def command(client):
    place = client.place
    return [sys.executable, __file__, f"{client.person.jid}/{client.resource}", place.xmpp_port, place.certificate]


def tell(**event):
    print(json.dumps(event), flush=True)


def main(jid, port, certificate):
    import slixmpp

    asyncio.set_event_loop(asyncio.new_event_loop())
    client = slixmpp.ClientXMPP(jid, os.environ["CLIENT_PASSWORD"])
    client.ca_certs = certificate
    # A person decides.
    client.auto_authorize = None
    client.auto_subscribe = False
    for plugin in ("xep_0030", "xep_0115", "xep_0184", "xep_0199"):
        client.register_plugin(plugin)
    loop = asyncio.get_event_loop()

    def see(stanza):
        if stanza.name in ("message", "presence", "iq"):
            tell(stanza=str(stanza))
        return stanza

    async def started(_event):
        await client.get_roster()
        client.send_presence()
        tell(ready=client.boundjid.full)
        loop.run_in_executor(None, read)

    def read():
        for line in sys.stdin:
            loop.call_soon_threadsafe(do, json.loads(line))
        loop.call_soon_threadsafe(client.disconnect)

    def do(order):
        kind = order.pop("do")
        if kind == "message":
            message = client.make_message(mto=order["to"], mbody=order["body"], mtype="chat")
            message["id"] = order["id"]
            message.send()
        elif kind == "presence":
            client.send_presence(pshow=order["show"], pstatus=order["status"])
        elif kind == "raw":
            client.send_raw(order["stanza"])
        elif kind == "close":
            client.disconnect()
        else:
            client.send_presence_subscription(order["to"], ptype=kind)

    done = asyncio.Event()
    client.add_filter("in", see)
    client.add_event_handler("session_start", started)
    client.add_event_handler("failed_auth", lambda _: tell(failed="authentication"))
    client.add_event_handler("disconnected", lambda _: done.set())
    if "address" in inspect.signature(client.connect).parameters:
        client.connect(address=("127.0.0.1", int(port)))
    else:
        client.connect("127.0.0.1", int(port))
    loop.run_until_complete(done.wait())
    tell(closed=True)
    os._exit(0)  # The thread that reads stdin would wait for another line.


if __name__ == "__main__":
    main(*sys.argv[1:])
