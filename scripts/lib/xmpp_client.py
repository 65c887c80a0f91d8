"""A small XMPP client for demonstrations: one account, one stream, no TLS. Standard library only.

RFC 6120 with SASL PLAIN, resource binding, and stanzas as ElementTree elements.
"""

import base64
import queue
import secrets
import socket
import threading
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

CLIENT = "{jabber:client}"
STATES = "http://jabber.org/protocol/chatstates"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


class Refused(Exception):
    """The server did not let us in."""


class Client:
    """One connection. Stanzas that arrive are put into `events`; pings and the like are answered."""

    def __init__(self, user, password, domain, server, resource, trace=None):
        self.jid = f"{user}@{domain}"
        self.domain, self.trace = domain, trace
        self.events = queue.Queue()
        self.socket = socket.create_connection(server, timeout=10)
        self._open()
        self._element(f"{{http://etherx.jabber.org/streams}}features")
        plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>", secret=True)
        answer = self._next()
        if answer.tag != f"{{{SASL}}}success":
            raise Refused(ElementTree.tostring(answer, "unicode"))
        self._open()
        self._element("{http://etherx.jabber.org/streams}features")
        self.send(f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                  f"<resource>{resource}</resource></bind></iq>")
        answer = self._element(CLIENT + "iq")
        if answer.get("type") != "result":
            raise Refused(ElementTree.tostring(answer, "unicode"))
        self.full = answer.findtext(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        self.socket.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()
        self.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")

    # What a user does.

    def presence(self, to=None, kind=None, show=None, status=None):
        attributes = (f" to={quoteattr(to)}" if to else "") + (f" type='{kind}'" if kind else "")
        inner = (f"<show>{show}</show>" if show else "") + (f"<status>{escape(status)}</status>" if status else "")
        self.send(f"<presence{attributes}>{inner}</presence>")

    def message(self, to, body, receipt=False):
        """A text, with the chat state that goes with it (XEP-0085); asks for a receipt (XEP-0184)."""
        name = secrets.token_hex(4)
        asked = "<request xmlns='urn:xmpp:receipts'/>" if receipt else ""
        self.send(f"<message to={quoteattr(to)} type='chat' id='{name}'><body>{escape(body)}</body>"
                  f"<active xmlns='{STATES}'/>{asked}</message>")
        return name

    def state(self, to, name):
        """What the person does: composing, paused …"""
        self.send(f"<message to={quoteattr(to)} type='chat'><{name} xmlns='{STATES}'/></message>")

    def received(self, stanza):
        """Confirms a message."""
        self.send(f"<message to={quoteattr(stanza.get('from'))} type='chat' id='{secrets.token_hex(4)}'>"
                  f"<received xmlns='urn:xmpp:receipts' id={quoteattr(stanza.get('id', ''))}/></message>")

    def wait(self, name, test=lambda stanza: True, seconds=15):
        """The next stanza of a name that passes the test; others before it are dropped. None when time is up."""
        until = time.monotonic() + seconds
        while True:
            try:
                stanza = self.events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if stanza.tag == CLIENT + name and test(stanza):
                return stanza

    def close(self):
        try:
            self.send("<presence type='unavailable'/></stream:stream>")
            self.socket.close()
        except OSError:
            pass  # It is closed already.

    # How it is done.

    def send(self, text, secret=False):
        if self.trace:
            self.trace.write(f"--- {self.jid} >\n{'(a secret)' if secret else text}\n")
            self.trace.flush()
        self.socket.sendall(text.encode())

    def _open(self):
        self.parser = ElementTree.XMLPullParser(["start", "end"])
        self.depth, self.stanzas, self.root = 0, [], None
        self.send(f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client'"
                  " xmlns:stream='http://etherx.jabber.org/streams'>")

    def _next(self):
        """The next element right below the stream."""
        while not self.stanzas:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the stream")
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                if event == "start":
                    self.depth += 1
                    self.root = element if self.depth == 1 else self.root
                else:
                    self.depth -= 1
                    if self.depth == 1:
                        self.stanzas.append(element)
                        self.root.clear()
        stanza = self.stanzas.pop(0)
        if self.trace:
            self.trace.write(f"--- {self.jid} <\n{ElementTree.tostring(stanza, 'unicode')}\n")
            self.trace.flush()
        return stanza

    def _element(self, tag):
        while True:
            stanza = self._next()
            if stanza.tag == tag:
                return stanza

    def _listen(self):
        try:
            while True:
                stanza = self._next()
                if stanza.tag == CLIENT + "iq" and stanza.get("type") in ("get", "set"):
                    self._answer(stanza)
                else:
                    self.events.put(stanza)
        except (OSError, ConnectionError, ElementTree.ParseError):
            pass  # The stream is over; whoever waits runs out of time.

    def _answer(self, stanza):
        to = f" to={quoteattr(stanza.get('from'))}" if stanza.get("from") else ""
        known = any(child.tag in ("{urn:xmpp:ping}ping", "{jabber:iq:roster}query") for child in stanza)
        if known:
            self.send(f"<iq type='result' id={quoteattr(stanza.get('id', ''))}{to}/>")
        else:
            self.send(f"<iq type='error' id={quoteattr(stanza.get('id', ''))}{to}><error type='cancel'>"
                      "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
