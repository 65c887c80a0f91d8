"""conference-info documents (RFC 4575): whole ones, and what has changed between two states."""

from dataclasses import dataclass
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

TYPE = "application/conference-info+xml"
NAMESPACE = "urn:ietf:params:xml:ns:conference-info"
XCON = "urn:ietf:params:xml:ns:xcon-conference-info"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Device:
    """An endpoint. `left`: the disconnection method, once it is not connected any more."""
    entity: str
    name: str | None
    media: str
    joined: str
    when: str
    by: str | None = None
    left: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Person:
    """A user. `name` is the display-text, `nick` the attribute of RFC 6501."""
    entity: str
    name: str | None
    devices: tuple
    nick: str | None = None
    aors: tuple = ()
    roles: tuple = ()


@dataclass(frozen=True)
class State:
    """Of a room, as one watcher may see it."""
    uri: str
    title: str
    subject: str
    locked: bool
    people: tuple

    @property
    def count(self):
        return sum(any(device.left is None for device in person.devices) for person in self.people)


class Writer:
    """`escaped`: URIs in elements are escaped where they need not be, as a recorded focus does."""

    def __init__(self, escaped=False):
        self.escaped = escaped

    def full(self, state, version):
        people = "".join(self.person(person) for person in state.people)
        return self._document(state, version, "full", self._description(state) + self._about(state)
                              + f'<users state="full">{people}</users>')

    def partial(self, before, after, version):
        """What a watcher who knows `before` needs to know `after`."""
        inner = ""
        if (before.title, before.subject) != (after.title, after.subject):
            inner += self._description(after)
        if (before.count, before.locked) != (after.count, after.locked):
            inner += self._about(after)
        known = {person.entity: person for person in before.people}
        now = {person.entity for person in after.people}
        people = "".join(f'<user entity={quoteattr(entity)} state="deleted"/>' for entity in known if entity not in now)
        people += "".join(self.person(person) for person in after.people if known.get(person.entity) != person)
        if people:
            inner += f'<users state="partial">{people}</users>'
        return self._document(after, version, "partial", inner)

    def deleted(self, state, version):
        """The conference is no more (§4.6)."""
        return self._document(state, version, "deleted", "")

    def person(self, person):
        nick = f" xcon:nickname={quoteattr(person.nick)}" if person.nick is not None else ""
        inner = element("display-text", person.name)
        if person.aors:
            inner += "<associated-aors>" + "".join(f"<entry>{self._uri(aor)}</entry>" for aor in person.aors) + "</associated-aors>"
        if person.roles:
            inner += "<roles>" + "".join(element("entry", role) for role in person.roles) + "</roles>"
        inner += "".join(self.device(device) for device in person.devices)
        return f'<user entity={quoteattr(person.entity)} state="full"{nick}>{inner}</user>'

    def device(self, device):
        by = self._bare("by", device.by) if device.by else ""
        inner = element("display-text", device.name) + element("status", "disconnected" if device.left else "connected")
        inner += element("joining-method", device.joined) + f"<joining-info>{element('when', device.when)}{by}</joining-info>"
        if device.left:
            inner += element("disconnection-method", device.left)
            if device.why:
                inner += f"<disconnection-info>{element('reason', device.why)}</disconnection-info>"
        else:
            inner += f'<media id={quoteattr(device.media)}><type>message</type><status>sendrecv</status></media>'
        return f'<endpoint entity={quoteattr(device.entity)} state="full">{inner}</endpoint>'

    def _document(self, state, version, kind, inner):
        xcon = f' xmlns:xcon="{XCON}"' if "xcon:nickname" in inner else ""
        return (f'{HEAD}<conference-info xmlns="{NAMESPACE}"{xcon} entity={quoteattr(state.uri)} state="{kind}"'
                f' version="{version}">{inner}</conference-info>\n').encode()

    def _description(self, state):
        return ("<conference-description>" + element("display-text", state.title) + f"<subject>{escape(state.subject)}</subject>"
                f"<conf-uris><entry>{self._uri(state.uri)}<purpose>participation</purpose></entry></conf-uris>"
                "<available-media><entry label=\"1\"><type>message</type><status>sendrecv</status></entry></available-media>"
                "</conference-description>")

    def _about(self, state):
        return ("<conference-state>" + element("user-count", str(state.count)) + element("active", "true")
                + element("locked", "true" if state.locked else "false") + "</conference-state>")

    def _uri(self, uri):
        return self._bare("uri", uri)

    def _bare(self, name, uri):
        return element(name, quote(uri, safe="") if self.escaped else uri)


def element(name, value):
    return "" if value is None else f"<{name}>{escape(value)}</{name}>"
