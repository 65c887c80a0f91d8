"""The place of a run: its folder, its names, its people. Servers and clients are handed it."""

import os
import re
import secrets
import subprocess

import processes

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = os.path.join(ROOT, "config")
XMPP_DOMAIN = "xmpp.localhost"
ROOMS_DOMAIN = "conference.xmpp.localhost"
SIP_DOMAIN = "sip.localhost"
# Whose users are rooms, on a focus.
FOCUS_DOMAIN = f"rooms.{SIP_DOMAIN}"


class Person:
    """A user of one side."""

    def __init__(self, user, domain):
        self.user, self.domain, self.password = user, domain, secrets.token_hex(8)
        self.jid = f"{user}@{domain}"
        self.uri = f"sip:{user}@{domain}"


class Place:
    """A folder with the secrets and certificate of one pair of servers, and one couple of people for each conversation. `crowd`: how
    many more there are on each side, for rooms. `quiet`: servers write down little."""

    def __init__(self, folder, couples, crowd=0, quiet=False):
        self.folder, self.quiet = folder, quiet
        os.makedirs(folder)
        self.secret = secrets.token_hex(16)
        self.component_port = processes.free_port()
        self.xmpp_port = processes.free_port()
        self.focus_port = processes.free_port()
        self.xmpp_people = [Person(f"juliet{number}", XMPP_DOMAIN) for number in range(couples)]
        self.sip_people = [Person(f"romeo{number}", SIP_DOMAIN) for number in range(couples)]
        self.xmpp_crowd = [Person(f"nurse{number}", XMPP_DOMAIN) for number in range(crowd)]
        self.sip_crowd = [Person(f"mercutio{number}", SIP_DOMAIN) for number in range(crowd)]
        self.certificate, self.key = self.path("certificate.pem"), self.path("key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={XMPP_DOMAIN}",
             "-addext", f"subjectAltName=DNS:{XMPP_DOMAIN}", "-keyout", self.key, "-out", self.certificate],
            check=True, capture_output=True)

    @property
    def xmpp_accounts(self):
        return self.xmpp_people + self.xmpp_crowd

    @property
    def sip_accounts(self):
        return self.sip_people + self.sip_crowd

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def sample(self, name):
        """A sample configuration of `config/` with the names of this place."""
        with open(os.path.join(CONFIG, name), encoding="utf-8") as file:
            text = file.read()
        names = {"sip.example.org": SIP_DOMAIN, "change-me": self.secret, "5347": str(self.component_port)}
        # All at once: a secret may have the digits of a port in it.
        return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)
