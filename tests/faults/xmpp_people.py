"""XMPP users of a load: lean clients on one asyncio loop. No TLS; they come back whenever their server does."""

import asyncio
import base64
import itertools
import random
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

CLIENT = "{jabber:client}"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
# How soon a lost stream is tried anew.
AGAIN = 0.3
# A server that says nothing for so long is asked, and given up after as long again.
SILENCE = 20


class Client:
    """One account, one stream at a time. What happens goes to the ledger."""

    def __init__(self, person, port, ledger):
        self.person, self.port, self.ledger = person, port, ledger
        self.writer, self.online = None, False
        self.status = None
        self.seen = {}
        self.asked = itertools.count(1)
        self.names = {}
        self.task = None
        # Called with (element) for what the ledger has no use for.
        self.other = lambda element: None

    def start(self):
        self.task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self):
        if self.writer is not None and self.online:
            self._write("<presence type='unavailable'/></stream:stream>")
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    # What a person does.

    def message(self, pair, to):
        """Writes the next message of a pair."""
        message, text = self.ledger.say(pair)
        name = f"p{pair.index}m{message.number}"
        self.names[name] = (pair, message.number)
        self._write(f"<message to={quoteattr(to)} type='chat' id='{name}'><body>{escape(text)}</body></message>")

    def show(self, status):
        """Another presence: words that nobody else says."""
        self.status = status
        for shown in self.ledger.shown.values():
            if shown.watched == self.person.jid:
                shown.true((True, status))
        if self.online:
            self._write(self._presence())

    def subscribe(self, contact):
        self._write(f"<presence to={quoteattr(contact)} type='subscribe'/>")

    def again(self):
        """Logs out and in."""
        if self.writer is not None:
            self._write("<presence type='unavailable'/></stream:stream>")
            self.writer.close()

    def raw(self, text):
        self._write(text)

    # How it is done.

    def _presence(self):
        return f"<presence><status>{escape(self.status)}</status></presence>" if self.status else "<presence/>"

    def _write(self, text):
        if self.writer is not None:
            self.writer.write(text.encode())

    async def _live(self):
        while True:
            try:
                await self._session()
            except (OSError, EOFError, asyncio.TimeoutError, ElementTree.ParseError, Refused):
                pass  # Its server is gone, or not there yet.
            finally:
                self.online = False
                if self.writer is not None:
                    self.writer.close()
                    self.writer = None
            await asyncio.sleep(AGAIN * random.uniform(0.7, 1.3))

    async def _session(self):
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), 5)
        self._open()
        await self._until("{http://etherx.jabber.org/streams}features")
        plain = base64.b64encode(f"\0{self.person.user}\0{self.person.password}".encode()).decode()
        self._write(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>")
        answer = await self._next()
        if answer.tag != f"{{{SASL}}}success":
            raise Refused(ElementTree.tostring(answer, "unicode"))
        self._open()
        await self._until("{http://etherx.jabber.org/streams}features")
        self._write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                    "<resource>balcony</resource></bind></iq>")
        answer = await self._until(CLIENT + "iq")
        if answer.get("type") != "result":
            raise Refused(ElementTree.tostring(answer, "unicode"))
        self._write("<iq type='set' id='session'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
                    "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>" + self._presence())
        self._fresh()
        self.online = True
        while True:
            self._take(await self._next(SILENCE))

    def _open(self):
        self.parser = ElementTree.XMLPullParser(["start", "end"])
        self.depth, self.root, self.ready = 0, None, []
        self._write(f"<?xml version='1.0'?><stream:stream to='{self.person.jid.partition('@')[2]}' version='1.0'"
                    " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")

    async def _next(self, patience=10):
        """The next element right below the stream."""
        pinged = False
        while not self.ready:
            try:
                data = await asyncio.wait_for(self.reader.read(65536), patience)
            except asyncio.TimeoutError:
                if pinged or not self.online:
                    raise
                pinged = True
                self._write(f"<iq type='get' id='alive{next(self.asked)}'><ping xmlns='urn:xmpp:ping'/></iq>")
                continue
            if not data:
                raise EOFError
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                if event == "start":
                    self.depth += 1
                    self.root = element if self.depth == 1 else self.root
                else:
                    self.depth -= 1
                    if self.depth == 1:
                        self.ready.append(element)
                        self.root.clear()
        return self.ready.pop(0)

    async def _until(self, tag):
        while (found := await self._next()).tag != tag:
            pass
        return found

    def _fresh(self):
        """A client knows nothing of its contacts when it comes."""
        self.seen.clear()
        for shown in self.ledger.shown.values():
            if shown.watcher == self.person.jid:
                shown.show((False, None))

    def _take(self, element):
        kind, sender = element.get("type"), element.get("from", "")
        bare = sender.partition("/")[0]
        if element.tag == CLIENT + "message":
            self._message(element, kind)
        elif element.tag == CLIENT + "presence":
            self._contact(element, kind, sender, bare)
        elif element.tag == CLIENT + "iq" and kind in ("get", "set"):
            self._asked(element, sender)
        else:
            self.other(element)

    def _message(self, element, kind):
        if kind == "error":
            pair, number = self.names.get(element.get("id"), (None, None))
            if pair is not None:
                error = element.find(CLIENT + "error")
                what = " ".join(child.text or child.tag.partition("}")[2] for child in error) if error is not None else "?"
                self.ledger.tell(pair, number, what)
            return
        body = element.findtext(CLIENT + "body")
        if body is None or kind == "groupchat":
            self.other(element)
            return
        delayed = element.find("{urn:xmpp:delay}delay") is not None
        self.ledger.hear(body, self.person.jid, element.get("id"), delayed)

    def _contact(self, element, kind, sender, bare):
        if kind == "subscribe":
            self._write(f"<presence to={quoteattr(bare)} type='subscribed'/>")
        elif kind in (None, "unavailable"):
            devices = self.seen.setdefault(bare, {})
            if kind is None:
                devices[sender] = element.findtext(CLIENT + "status")
            elif sender == bare:
                devices.clear()
            else:
                devices.pop(sender, None)
            # A device that is open and says nothing must not be there beside one that does.
            state = (True, sorted(devices.values(), key=str)[0] if len(devices) == 1 else str(devices)) if devices else (False, None)
            self.ledger.show(bare, self.person.jid, state)
        self.other(element)

    def _asked(self, element, sender):
        to = f" to={quoteattr(sender)}" if sender else ""
        if any(child.tag in ("{urn:xmpp:ping}ping", "{jabber:iq:roster}query") for child in element):
            self._write(f"<iq type='result' id={quoteattr(element.get('id', ''))}{to}/>")
        else:
            self._write(f"<iq type='error' id={quoteattr(element.get('id', ''))}{to}><error type='cancel'>"
                        f"<service-unavailable xmlns='{STANZAS}'/></error></iq>")


class Refused(Exception):
    """The server did not let us in."""


