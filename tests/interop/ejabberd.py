"""ejabberd, with rooms, and the component of config/ejabberd.yml."""

import os
import subprocess

import processes
from place import FOCUS_DOMAIN, ROOMS_DOMAIN, XMPP_DOMAIN

NAME = "ejabberd"
VERSION = processes.package_version("ejabberd")


class Server:
    def __init__(self, place):
        self.place = place
        both = place.write("both.pem", open(place.key, encoding="ascii").read()
                           + open(place.certificate, encoding="ascii").read())
        client_port = f"""listen:
  - port: {place.xmpp_port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls: true
"""
        self.config = place.write("ejabberd.yml", f"""
loglevel: {'info' if place.quiet else 'debug'}
hosts: [ {XMPP_DOMAIN} ]
certfiles: [ "{both}" ]
auth_method: internal
modules:
  mod_blocking: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_offline: {{}}
  mod_muc:
    host: {ROOMS_DOMAIN}
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
  mod_vcard: {{}}
""" + place.sample("ejabberd.yml").replace("listen:\n", client_port).replace(
    "    hosts:\n", f'    hosts:\n      {FOCUS_DOMAIN}:\n        password: "{place.secret}"\n'))
        place.write("inetrc", '{hosts, "/etc/hosts"}.\n')
        os.makedirs(place.path("log"), exist_ok=True)
        self.start()

    def start(self):
        place = self.place
        files = subprocess.run(["dpkg", "-L", "ejabberd"], capture_output=True, text=True, check=True).stdout.split()
        library = next(file for file in files if file.endswith("/ebin/ejabberd.app"))
        # No node name: nothing listens for other Erlang nodes.
        accounts = ", ".join(f'ejabberd_auth:try_register(<<"{person.user}">>, <<"{XMPP_DOMAIN}">>, <<"{person.password}">>)'
                             for person in place.xmpp_accounts)
        self.child = processes.Child(
            "ejabberd",
            ["erl", "-noinput", "-mnesia", "dir", f'"{place.path("ejabberd")}"', "-s", "ejabberd", "-eval",
             f'{accounts}, io:format("accounts are there~n").'],
            place.folder,
            {"ERL_LIBS": os.path.dirname(os.path.dirname(os.path.dirname(library))), "HOME": place.folder,
             "EJABBERD_CONFIG_PATH": self.config, "EJABBERD_LOG_PATH": place.path("log/ejabberd.log"),
             "ERL_CRASH_DUMP": "/dev/null"})
        for port in (place.xmpp_port, place.component_port):
            processes.wait("ejabberd listens", lambda: processes.listens(port), 60, self.child)

    def stop(self):
        """As an administrator stops it."""
        return self.child.stop(30)

    def kill(self):
        self.child.kill()
