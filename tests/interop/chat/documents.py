"""The two documents that travel beside texts: notifications (IMDN, RFC 5438) and typing (isComposing, RFC 3994)."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

from .cpim import TIME, now
from .wire import must, should

IMDN_TYPE = "message/imdn+xml"
IMDN_NAMESPACE = "urn:ietf:params:xml:ns:imdn"
COMPOSING_TYPE = "application/im-iscomposing+xml"
COMPOSING_NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"
STATUSES = {"delivery": ("delivered", "failed"), "display": ("displayed",), "processing": ("processed", "stored")}
COMMON = ("forbidden", "error")


@dataclass
class Imdn:
    name: str
    when: str
    # "delivery", "display" or "processing", and what became of it.
    kind: str
    status: str
    recipient: str | None = None
    complaints: list = field(default_factory=list)

    def encode(self):
        recipient = f"<recipient-uri>{_text(self.recipient)}</recipient-uri>" if self.recipient else ""
        return (f'<?xml version="1.0" encoding="UTF-8"?>\r\n<imdn xmlns="{IMDN_NAMESPACE}">'
                f"<message-id>{_text(self.name)}</message-id><datetime>{_text(self.when)}</datetime>{recipient}"
                f"<{self.kind}-notification><status><{self.status}/></status></{self.kind}-notification></imdn>").encode()


@dataclass
class Composing:
    state: str
    refresh: int | None = None
    content_type: str | None = None
    last_active: str | None = None
    complaints: list = field(default_factory=list)

    def encode(self):
        parts = [("state", self.state), ("lastactive", self.last_active), ("contenttype", self.content_type),
                 ("refresh", self.refresh)]
        inner = "".join(f"<{name}>{_text(str(value))}</{name}>" for name, value in parts if value is not None)
        return (f'<?xml version="1.0" encoding="UTF-8"?>\r\n<isComposing xmlns="{COMPOSING_NAMESPACE}">'
                f"{inner}</isComposing>").encode()


def imdn(name, kind="delivery", status="delivered", when=None):
    return Imdn(name, when or now(), kind, status)


def parse_imdn(data):
    """ValueError when it is none."""
    root = _root(data, f"{{{IMDN_NAMESPACE}}}imdn")
    find = lambda name: root.findtext(f"{{{IMDN_NAMESPACE}}}{name}")
    complaints = []
    name, when = find("message-id"), find("datetime")
    if not name:
        complaints.append(must("RFC 5438 §11.1.1", "no message-id"))
    if not when or not TIME.fullmatch(when):
        complaints.append(must("RFC 5438 §11.1.2", f"datetime: {when!r}"))
    found = [(kind, element) for kind in STATUSES
             for element in root.findall(f"{{{IMDN_NAMESPACE}}}{kind}-notification")]
    if len(found) != 1:
        complaints.append(must("RFC 5438 §11.1.6", f"{len(found)} notifications in one document"))
    if not found:
        raise ValueError("an IMDN without a notification")
    kind, element = found[0]
    status = element.find(f"{{{IMDN_NAMESPACE}}}status")
    words = [_local(child) for child in status] if status is not None else []
    if not words or words[0] not in (*STATUSES[kind], *COMMON):
        complaints.append(must("RFC 5438 §11.1.7", f"the status of a {kind}-notification is {words}"))
    order = [_local(child) for child in root if child.tag.startswith("{" + IMDN_NAMESPACE)]
    expected = sorted(order, key=lambda word: ("message-id", "datetime", "recipient-uri", "original-recipient-uri",
                                               "subject").index(word) if not word.endswith("notification") else 9)
    if order != expected:
        complaints.append(should("RFC 5438 §11.1.9", f"the order of its elements is {order}"))
    return Imdn(name or "", when or "", kind, words[0] if words else "", find("recipient-uri"), complaints)


def parse_composing(data):
    """ValueError when it is none."""
    root = _root(data, f"{{{COMPOSING_NAMESPACE}}}isComposing")
    find = lambda name: root.findtext(f"{{{COMPOSING_NAMESPACE}}}{name}")
    complaints = []
    state, refresh = find("state"), find("refresh")
    if not state:
        complaints.append(must("RFC 3994 §3.4", "no state"))
    if refresh is not None:
        if not re.fullmatch("[0-9]+", refresh):
            complaints.append(must("RFC 3994 §6", f"refresh: {refresh!r}"))
            refresh = None
        elif int(refresh) < 60:
            complaints.append(should("RFC 3994 §3.2", f"refresh is {refresh}, less than 60"))
    content_type, last_active = find("contenttype"), find("lastactive")
    if last_active is not None and not TIME.fullmatch(last_active):
        complaints.append(must("RFC 3994 §6", f"lastactive: {last_active!r}"))
    # Unknown states are idle (§3.5).
    if state not in ("active", "idle"):
        complaints.append(should("RFC 3994 §3.5", f"the state is {state!r}"))
    return Composing("active" if state == "active" else "idle", int(refresh) if refresh else None, content_type,
                     last_active, complaints)


def _root(data, tag):
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"no XML: {error}") from None
    if root.tag != tag:
        raise ValueError(f"not {tag}: {root.tag}")
    return root


def _local(element):
    return element.tag.split("}")[-1]


def _text(value):
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
