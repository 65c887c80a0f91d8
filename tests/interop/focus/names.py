"""Nicknames (RFC 7701 §7.1, RFC 7700) and addresses: what is malformed, and what is the same."""

import re
import unicodedata
from urllib.parse import unquote

from chat.message import parameter

# qdtext and qd-esc of RFC 4975 §9, between quotes.
QUOTED = re.compile(r'"((?:[ \t!#-\[\]-~\u0080-\U0010ffff]|\\[\\"])*)"')
LONGEST = 1023


class Malformed(ValueError):
    """Not a Use-Nickname."""


def nickname(value, bare=False):
    """The nick of a Use-Nickname; "" takes it back (§7.3). `bare`: also without quotes, as a recorded client writes it."""
    found = QUOTED.fullmatch(value or "")
    if found:
        nick = re.sub(r"\\(.)", r"\1", found[1])
    elif bare and value and '"' not in value:
        nick = value
    else:
        raise Malformed(f"not a nickname: {value!r}")
    if len(nick.encode()) > LONGEST:
        raise Malformed(f"{len(nick.encode())} octets")
    if nick and not nick.strip():
        raise Malformed("nothing but blanks")
    return nick


def same(nick):
    """What is compared of a nick: blanks collapsed, in no case, in one form (RFC 7700 §3)."""
    return unicodedata.normalize("NFKC", " ".join(nick.split()).casefold())


def split(uri):
    """User, host and port of a SIP URI, without escapes and case; None when it is none."""
    found = re.match(r"sips?:(?:([^@]*)@)?(\[[^\]]+\]|[^:;?>]+)(?::([0-9]+))?", uri or "", re.I)
    if not found:
        return None
    user = unquote((found[1] or "").split(";")[0].split(":")[0])
    return user, found[2].lower(), found[3]


def key(uri):
    """What is compared of an address: no parameters, but the `gr` of one within a room, which is another person's."""
    parts = split(uri)
    if parts is None:
        return (uri or "").strip().lower()
    gr = parameter(uri.partition("@")[2].partition("?")[0], "gr") or ""
    return parts if gr.startswith("urn:") else (*parts, unquote(gr)) if gr else parts


def user(uri):
    return (split(uri) or ("", "", None))[0]


def aor(value):
    """The address of record in a URI: without parameters and headers."""
    return re.sub(r"[;?].*", "", value.partition("@")[0]) + "@" + re.sub(r"[;?].*", "", value.partition("@")[2]) \
        if "@" in value else value


def display_name(value):
    """The name before an address, None where there is none."""
    found = re.match(r'\s*"((?:[^"\\]|\\.)*)"\s*<|\s*([^"<;]+?)\s*<', value or "")
    if not found:
        return None
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
