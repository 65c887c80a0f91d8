"""libstrophe, the C library under Profanity and others: as a client that speaks JSON lines (see `xmpp.py`)."""

import ctypes
import ctypes.util
import json
import os
import select
import sys

import processes

KEY = "strophe"
NAME = "libstrophe"
VERSION = processes.package_version("libstrophe0", "libstrophe0t64")
TRUST_TLS = 1 << 3
CONNECT = 0

CONNECTION_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
STANZA_HANDLER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def command(client):
    return [sys.executable, __file__, f"{client.person.jid}/{client.resource}", client.place.xmpp_port]


def tell(**event):
    print(json.dumps(event), flush=True)


class Library:
    """The functions that are used, each with its types: a pointer that ctypes takes for an int is cut."""

    POINTER, TEXT, NUMBER = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int

    def __init__(self):
        self.library = ctypes.CDLL("libstrophe.so.0")

    def __getattr__(self, name):
        function = getattr(self.library, f"xmpp_{name}")
        function.restype = self.POINTER if name in ("ctx_new", "conn_new", "get_default_logger", "message_new",
                                                    "presence_new", "iq_new", "stanza_new") else self.NUMBER

        def call(*arguments):
            return function(*[ctypes.c_void_p(a) if isinstance(a, int) and a > 0xffff else
                              a.encode() if isinstance(a, str) else a for a in arguments])
        return call


def main(jid, port):
    xmpp = Library()
    xmpp.initialize()
    context = xmpp.ctx_new(None, xmpp.get_default_logger(2))
    connection = xmpp.conn_new(context)
    xmpp.conn_set_flags(connection, ctypes.c_long(TRUST_TLS))
    xmpp.conn_set_jid(connection, jid)
    xmpp.conn_set_pass(connection, os.environ["CLIENT_PASSWORD"])
    state = {"open": True}

    @STANZA_HANDLER
    def arrived(_connection, stanza, _data):
        text, length = ctypes.c_char_p(), ctypes.c_size_t()
        xmpp.stanza_to_text(stanza, ctypes.byref(text), ctypes.byref(length))
        # libstrophe shows children without the namespace that they inherit; scenes look at local names only.
        tell(stanza=text.value.decode("utf-8", "replace"))
        xmpp.free(context, ctypes.cast(text, ctypes.c_void_p).value)
        return 1

    @CONNECTION_HANDLER
    def changed(_connection, event, error, _stream_error, _data):
        if event == CONNECT:
            xmpp.handler_add(connection, arrived, None, None, None, None)
            # Only who has asked for the roster is told of subscriptions (RFC 6121 §3.1.5).
            roster = xmpp.iq_new(context, "get", "roster")
            query = xmpp.stanza_new(context)
            xmpp.stanza_set_name(query, "query")
            xmpp.stanza_set_ns(query, "jabber:iq:roster")
            xmpp.stanza_add_child(roster, query)
            xmpp.stanza_release(query)
            send(roster)
            presence()
            tell(ready=jid)
        else:
            state["open"] = False
            if error:
                tell(failed=error)

    def child_of(parent, name, text):
        child, inner = xmpp.stanza_new(context), xmpp.stanza_new(context)
        xmpp.stanza_set_name(child, name)
        xmpp.stanza_set_text(inner, text)
        xmpp.stanza_add_child(child, inner)
        xmpp.stanza_add_child(parent, child)
        xmpp.stanza_release(inner)
        xmpp.stanza_release(child)

    def send(stanza):
        xmpp.send(connection, stanza)
        xmpp.stanza_release(stanza)

    def presence(to=None, kind=None, show=None, status=None):
        stanza = xmpp.presence_new(context)
        if to:
            xmpp.stanza_set_to(stanza, to)
        if kind:
            xmpp.stanza_set_type(stanza, kind)
        for name, text in (("show", show), ("status", status)):
            if text:
                child_of(stanza, name, text)
        send(stanza)

    def do(order):
        kind = order["do"]
        if kind == "message":
            stanza = xmpp.message_new(context, "chat", order["to"], order["id"])
            xmpp.message_set_body(stanza, order["body"])
            send(stanza)
        elif kind == "presence":
            presence(show=order["show"], status=order["status"])
        elif kind == "raw":
            data = order["stanza"].encode()
            xmpp.send_raw(connection, ctypes.c_char_p(data), ctypes.c_size_t(len(data)))
        elif kind == "close":
            presence(kind="unavailable")
            xmpp.disconnect(connection)
        else:
            presence(to=order["to"], kind=kind)

    xmpp.connect_client(connection, "127.0.0.1", ctypes.c_ushort(int(port)), changed, None)
    pending = b""
    while state["open"]:
        xmpp.run_once(context, ctypes.c_ulong(20))
        while select.select([0], [], [], 0)[0]:
            piece = os.read(0, 65536)
            if not piece:
                return
            pending += piece
            *lines, pending = pending.split(b"\n")
            for line in lines:
                do(json.loads(line))
    tell(closed=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
