"""Who is in a conference, as its documents tell (RFC 4575): a subscriber's side, which looks whether the rules are kept."""

import xml.etree.ElementTree as ElementTree

from .wire import must

TYPE = "application/conference-info+xml"
NAMESPACE = "{urn:ietf:params:xml:ns:conference-info}"
# `nickname` stands beside the others with XCON's namespace, or with none (RFC 6501, RFC 7701 §7.2).
NICKNAME = ("nickname", "{urn:ietf:params:xml:ns:xcon-conference-info}nickname")


class Roster:
    """The state of one subscription. `complain` takes what is against a rule."""

    def __init__(self, complain):
        self.complain = complain
        self.version, self.subject, self.users = None, None, {}

    def take(self, data):
        """A document. What is against the rules is taken all the same, where it can be read."""
        try:
            root = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            return self.complain(must("RFC 4575 §5", f"not well-formed: {error}"))
        if root.tag != NAMESPACE + "conference-info":
            return self.complain(must("RFC 4575 §5.2", f"the root is {root.tag}"))
        version = root.get("version")
        if version is None or not version.isdigit() or root.get("entity") is None:
            return self.complain(must("RFC 4575 §5.2", "conference-info without version or entity"))
        state = root.get("state", "full")
        self._order(int(version), state)
        self.version = int(version)
        if state == "full":
            self.subject, self.users = None, {}
        if state == "deleted":
            self.users = {}
        description = root.find(NAMESPACE + "conference-description")
        if description is not None and description.find(NAMESPACE + "subject") is not None:
            self.subject = text(description, "subject") or ""
        users = root.find(NAMESPACE + "users")
        if users is not None:
            if users.get("state", "full") == "full":
                self.users = {}
            for user in users.findall(NAMESPACE + "user"):
                self._user(user, users.get("state", "full"))
        return state

    def _order(self, version, state):
        if self.version is None:
            if state != "full":
                self.complain(must("RFC 4575 §4.5", f"the first document is {state}"))
        elif version < self.version or version == self.version and state != "full":
            # A full document of what has not changed may have the version of the one before.
            self.complain(must("RFC 4575 §5.2", f"version {version} after {self.version}"))
        elif state != "full" and version != self.version + 1:
            self.complain(must("RFC 4575 §5.2", f"a partial document {version} after {self.version}"))

    def _user(self, user, around):
        entity, state = user.get("entity"), user.get("state", "full")
        if entity is None:
            return self.complain(must("RFC 4575 §5.6", "a user without entity"))
        if around == "full" and state != "full":
            self.complain(must("RFC 4575 §4.4", f"a {state} user among full ones: {entity}"))
        if state == "deleted":
            # Who is told of for the first time may be gone already.
            self.users.pop(entity, None)
            return None
        known = self.users.get(entity, {}) if state == "partial" else {}
        self.users[entity] = {**known, **read_user(user)}
        return None


def read_user(user):
    """What a person sees of a user."""
    roles, aors = user.find(NAMESPACE + "roles"), user.find(NAMESPACE + "associated-aors")
    endpoints = user.findall(NAMESPACE + "endpoint")
    ended = [text(endpoint, "disconnection-method") for endpoint in endpoints]
    nickname = next((user.get(name) for name in NICKNAME if user.get(name)), None)
    found = {"name": nickname or text(user, "display-text"),
             "roles": [] if roles is None else [(entry.text or "").strip() for entry in roles],
             "aors": [] if aors is None else [text(entry, "uri") for entry in aors],
             "status": next((text(endpoint, "status") for endpoint in endpoints), None),
             "joined": next((text(endpoint, "joining-method") for endpoint in endpoints), None),
             "left": next((method for method in ended if method), None)}
    return {key: value for key, value in found.items() if value not in (None, [])}


def text(element, name):
    found = element.find(NAMESPACE + name)
    return None if found is None else (found.text or "").strip()


def guests(addresses):
    """A list of people to be asked in (RFC 5366)."""
    from xml.sax.saxutils import quoteattr
    entries = "".join(f"<entry uri={quoteattr(address)}/>" for address in addresses)
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
            f"<list>{entries}</list></resource-lists>\n").encode()
