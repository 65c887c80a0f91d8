"""Kamailio as registrar and presence server: config/kamailio.cfg with the names of a place."""

import re
import shutil

import processes
from place import FOCUS_DOMAIN, ROOMS_DOMAIN, SIP_DOMAIN, XMPP_DOMAIN

NAME = "Kamailio"
VERSION = processes.package_version("kamailio")


class Server:
    def __init__(self, place, gateway_port, more=""):
        """`more`: further lines behind the modules' parameters."""
        self.place = place
        self.port = processes.free_port()
        text = place.sample("kamailio.cfg")
        for name, value in (("SIP_DOMAIN", SIP_DOMAIN), ("XMPP_DOMAIN", XMPP_DOMAIN), ("ROOMS_DOMAIN", ROOMS_DOMAIN),
                            ("FOCUS_DOMAIN", FOCUS_DOMAIN), ("FOCUS_PORT", place.focus_port),
                            ("LISTEN", f"127.0.0.1:{self.port}"), ("MOSTAR_PORT", gateway_port),
                            ("TABLES", place.path("tables"))):
            text, count = re.subn(f'(#!substdef "!{name}!)[^!]*', rf"\g<1>{value}", text)
            if count != 1:
                raise ValueError(f"config/kamailio.cfg does not define {name} once")
        account = next(line for line in text.splitlines() if "accounts=>alice" in line)
        text = text.replace(account, "\n".join(
            f'\t$sht(accounts=>{person.user}) = "{person.password}";' for person in place.sip_accounts))
        text = text.replace("\nevent_route", f"\n{more}\nevent_route", 1)
        self.config = place.write("kamailio.cfg", text)
        shutil.copytree("/usr/share/kamailio/dbtext/kamailio", place.path("tables"))
        self.start()

    def start(self):
        folder = self.place.folder
        self.child = processes.Child(
            "kamailio", ["kamailio", "-f", self.config, "-DD", "-E", "-m", "64", "-M", "8", "-P",
                         self.place.path("kamailio.pid"), "-Y", folder, "-w", folder], folder)
        processes.wait("Kamailio listens", lambda: processes.listens(self.port), 30, self.child)

    def kill(self):
        self.child.kill()
