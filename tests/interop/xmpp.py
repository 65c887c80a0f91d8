"""What the scenes ask of an XMPP client. The client itself is a process that speaks JSON lines (see `Talker`).

Commands: {"do": "message"|"subscribe"|"subscribed"|"presence"|"raw"|"close", "to", "body", "id", "show", "status",
"stanza"}.
Events: {"ready": full JID} once it is logged in and has sent presence; {"stanza": XML} for whatever arrives;
{"closed": true}.
"""

import itertools
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from processes import Missed, Talker

_numbers = itertools.count(1)


def local(element):
    return element.tag.split("}")[-1]


class Stanza:
    """A stanza as scenes look at it."""

    def __init__(self, text):
        self.text = text
        root = ElementTree.fromstring(text)
        self.kind = local(root)
        self.type, self.id, self.sender = root.get("type"), root.get("id"), root.get("from") or ""
        self.bare = self.sender.split("/")[0]
        self.children = children = {local(child): child for child in root}
        text_of = lambda name: (children[name].text or "") if name in children else None
        self.body, self.show, self.status = text_of("body"), text_of("show"), text_of("status")
        error = children.get("error")
        self.condition = next((local(child) for child in error if local(child) != "text"), None) if error is not None else None
        self.reason = next((child.text for child in error if local(child) == "text"), None) if error is not None else None

    def has(self, name, attribute=None, value=None):
        """Whether it has such a child, with an attribute of this value."""
        return name in self.children and (attribute is None or self.children[name].get(attribute) == value)

    def __str__(self):
        return self.text


class Client:
    """One logged-in client of one user. `module` says how to run it."""

    def __init__(self, module, place, person, resource="balcony"):
        self.module, self.place, self.person, self.resource = module, place, person, resource
        self.child = None

    def online(self):
        self.child = Talker(
            f"{self.module.KEY}-{self.person.user}-{next(_numbers)}", self.module.command(self), self.place.folder,
            {"CLIENT_PASSWORD": self.person.password})
        self.parsed = {}
        self.child.events.wait(f"{self.module.NAME} logs in", lambda event: "ready" in event, 20)

    def offline(self):
        if self.child is None:
            return
        self.child.tell(do="close")
        self.child.events.wait("the client says goodbye", lambda event: "closed" in event, 10)
        self.child.stop(5)
        self.child = None

    def gone(self):
        """Its server died; the process goes too."""
        self.child.kill()
        self.child = None

    def mark(self):
        return self.child.events.mark()

    def raw(self, stanza):
        self.child.tell(do="raw", stanza=stanza)

    def message(self, to, body):
        name = f"m{next(_numbers)}"
        self.child.tell(do="message", to=to, body=body, id=name)
        return name

    def chat(self, to, body=None, *children, name=None):
        """A chat message with further children, as XML; its id."""
        name = name or f"m{next(_numbers)}"
        inner = (f"<body>{escape(body)}</body>" if body is not None else "") + "".join(children)
        self.child.tell(do="raw", stanza=f"<message xmlns='jabber:client' type='chat' to='{to}' id='{name}'>{inner}</message>")
        return name

    def add(self, contact):
        self.child.tell(do="subscribe", to=contact)

    def approve(self, contact):
        self.child.tell(do="subscribed", to=contact)

    def show(self, show=None, status=None):
        self.child.tell(do="presence", show=show, status=status)

    def wait(self, what, test, seconds=20, since=0):
        """The first stanza after the mark that passes."""
        def passes(event):
            return "stanza" in event and test(self.stanza(event))
        return self.stanza(self.child.events.wait(what, passes, seconds, since))

    def stanza(self, event):
        if id(event) not in self.parsed:
            self.parsed[id(event)] = Stanza(event["stanza"])
        return self.parsed[id(event)]

    def all(self, test, since=0):
        """The stanzas that have come and pass."""
        return [self.stanza(event) for event in self.child.events.list[since:]
                if "stanza" in event and test(self.stanza(event))]

    def wait_message(self, sender, body, since=0, seconds=20):
        return self.wait(f"a message from {sender}", lambda s: s.kind == "message" and s.bare == sender and s.body == body
                         and s.type != "error", seconds, since)

    def wait_presence(self, sender, kind, show=..., since=0, seconds=20):
        """A presence of a type (None: available), with this show unless any will do."""
        return self.wait(f"presence {kind or 'available'} {'' if show is ... else show or ''} of {sender}",
                         lambda s: s.kind == "presence" and s.bare == sender and s.type == kind
                         and (show is ... or s.show == show), seconds, since)

    def bodies(self, sender, since=0):
        """The texts of a sender, in the order in which they came."""
        return [s.body for s in self.all(lambda s: s.kind == "message" and s.bare == sender and s.body and s.type != "error",
                                         since)]

    def refuse_presence(self, sender, kind, since):
        """Missed when such a presence has come."""
        found = self.child.events.find(lambda event: "stanza" in event and (stanza := self.stanza(event)).kind == "presence"
                                       and stanza.bare == sender and stanza.type == kind, since)
        if found:
            raise Missed(f"presence {kind or 'available'} of {sender} came, which it should not")
