"""SIPp: the phone is a set of its scenarios. One process listens and answers whatever comes; each thing that the
user does is a process of its own. What arrived is read from SIPp's own message logs."""

import itertools
import os
import re
import secrets
import signal

import processes
from phone import AWAY, CLOSED, OPEN, pidf
from processes import Missed

KEY = "sipp"
NAME = "SIPp"
VERSION = processes.package_version("sip-tester")
AWAY_IS = AWAY
CAN = {"watch", "publish", "notify", "publish-away", "status", "silent", "restarts"}
NOT_DIRECT = {"restarts"}  # It would have to tell its presence anew by itself.

_numbers = itertools.count(1)

ANSWER = """
  <send{next}><![CDATA[
SIP/2.0 {status}
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:{user}@[local_ip]:[local_port]>
{more}Content-Length: 0

]]></send>"""

# No retransmissions: while one is due, SIPp sends nothing else, not even the answer to a NOTIFY. Loopback loses nothing.
REQUEST = """
  <send><![CDATA[
{method} {target} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <{me}>;tag={tag}
To: <{to}>{to_tag}
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:{user}@[local_ip]:{contact_port}>
{more}Content-Length: [len]

{body}]]></send>"""

# A user agent that answers. "silent" is a phone that knows nothing of presence.
LISTENER = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="listener">
  <recv request="OPTIONS" optional="true" next="ok"/>
  <recv request="SUBSCRIBE" optional="true" next="subscribe">
    <action><ereg regexp="silent" search_in="hdr" header="To:" check_it="false" assign_to="silent"/></action>
  </recv>
  <recv request="NOTIFY" optional="true" next="ok"/>
  <recv request="MESSAGE" next="ok"/>
  <label id="ok"/>{ok}
  <label id="subscribe"/>
  <nop next="bad-event" test="silent"/>{subscribed}
  <label id="bad-event"/>{bad_event}
  <label id="end"/>
  <nop/>
</scenario>
"""


class Message:
    """One message of SIPp's log."""

    def __init__(self, direction, text):
        self.direction = direction
        head, _, self.body = text.partition("\n\n")
        self.first, *lines = head.split("\n")
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.strip().lower(), value.strip())

    @property
    def method(self):
        return self.first.split(" ")[0]

    def __str__(self):
        return f"{self.direction} {self.first}"


class Run:
    """One SIPp process and its message log."""

    def __init__(self, place, scenario, arguments):
        number = next(_numbers)
        self.name = f"sipp-{number}"
        file = place.write(f"{self.name}.xml", scenario)
        self.messages_file = place.path(f"{self.name}-messages.log")
        self.child = processes.Child(
            self.name, ["sipp", "-sf", file, "-i", "127.0.0.1", "-nostdin", "-trace_msg", "-message_file",
                        self.messages_file, "-message_overwrite", "false", "-default_behaviors", "none", "-trace_err", "-error_file",
                        place.path(f"{self.name}-errors.log"), *arguments],
            place.folder, {"TERM": "dumb"})

    def messages(self):
        try:
            with open(self.messages_file, encoding="utf-8", errors="replace", newline="") as file:
                text = file.read().replace("\r\n", "\n")
        except FileNotFoundError:
            return []
        found = []
        for part in re.split(r"^-{20,}[^\n]*\n", text, flags=re.M)[1:]:
            heading, _, message = part.partition("\n\n")
            direction = "<" if "received" in heading else ">"
            found.append(Message(direction, message))
        return found

    def received(self, test):
        return [m for m in self.messages() if m.direction == "<" and test(m)]


class Phone:
    def __init__(self, place, person, way):
        self.place, self.person, self.way = place, person, way
        self.port = way.peer_port if way.direct else processes.free_port()
        self.watching, self.etag, self.marked, self.notified = {}, None, 0, {}
        self.listener = None

    def start(self):
        user = self.person.user
        part = lambda status, more="": ANSWER.format(status=status, next=' next="end"', tag=f";tag={secrets.token_hex(4)}[call_number]",
                                                     user=user, more=more)
        self.listener = Run(self.place, LISTENER.format(
            ok=part("200 OK"), subscribed=part("200 OK", "Expires: 3600\n"),
            bad_event=part("489 Bad Event", "Allow-Events: dialog\n")),
            ["-p", self.port, "-deadcall_wait", "0", "-rtcheck", "loose"])
        processes.wait("SIPp listens", lambda: f":{self.port:04X} " in open("/proc/net/udp", encoding="ascii").read(), 10,
                       self.listener.child)
        if not self.way.direct:
            answer = self.request("REGISTER", f"sip:{self.person.domain}", self.person.uri, "Expires: 600\n")
            if answer != 200:
                raise Missed(f"REGISTER was answered {answer}")

    def stop(self):
        for run in [*([self.listener] if self.listener else []), *(entry["run"] for entry in self.watching.values())]:
            run.child.signal_group(signal.SIGKILL)
            run.child.kill()

    # What a user does.

    def send(self, to, text):
        """A message; the status of its answer."""
        return self.request("MESSAGE", to, to, "Content-Type: text/plain;charset=UTF-8\n", text)

    def publish(self, state):
        if self.way.direct:
            self.state = state
            for subscription in self.subscriptions():
                self.notify(subscription, state)
            return
        more = "Event: presence\nExpires: 600\n" + (f"SIP-If-Match: {self.etag}\n" if self.etag else "")
        answer = self.request("PUBLISH", self.person.uri, self.person.uri,
                              more + "Content-Type: application/pidf+xml\n", pidf(self.person.uri, state))
        if answer != 200:
            raise Missed(f"PUBLISH was answered {answer}")
        self.etag = self.last.headers["sip-etag"]

    def serve_subscription(self, state, seconds=20):
        """Direct: waits for somebody's SUBSCRIBE, and answers with the first NOTIFY."""
        self.state = state
        wanted = lambda: [s for s in self.subscriptions() if s.headers["call-id"] not in self.notified]
        subscription = processes.wait("a SUBSCRIBE", wanted, seconds)[-1]
        self.notify(subscription, state)

    def watch(self, uri):
        """Subscribes, and goes on answering the NOTIFYs."""
        # A NOTIFY may come before the answer to the SUBSCRIBE.
        notify_loop = ('\n  <label id="more"/>\n  <recv response="200" optional="true" next="more"/>'
                       '\n  <recv response="202" optional="true" next="more"/>\n  <recv request="NOTIFY" timeout="600000"/>'
                       + ANSWER.format(status="200 OK", next=' next="more"', tag="", user=self.person.user, more=""))
        run, port = self.scenario("SUBSCRIBE", uri, uri, "Event: presence\nAccept: application/pidf+xml\nExpires: 600\n", "",
                                  notify_loop)
        self.watching[uri] = {"run": run, "seen": 0}
        return self.answer_of(run)

    # What a user sees.

    def mark(self):
        self.marked = len(self.listener.messages())
        for entry in self.watching.values():
            entry["seen"] = len(entry["run"].messages())

    def wait_message(self, sender, text, seconds=20):
        def test():
            return [m for m in self.listener.messages()[self.marked:] if m.direction == "<" and m.method == "MESSAGE"
                    and m.body.strip() == text and sender in m.headers["from"]]
        return processes.wait(f"a message from {sender}", test, seconds)

    def wait_state(self, uri, state, seconds=20):
        entry = self.watching[uri]

        def test():
            for message in entry["run"].messages()[entry["seen"]:]:
                if message.direction == "<" and message.method == "NOTIFY":
                    body = message.body
                    shown = (CLOSED if "open</" not in body else AWAY if "away" in body else OPEN) if body.strip() else None
                    if shown == state:
                        return True
            return False
        processes.wait(f"{uri} is shown as {state}", test, seconds, entry["run"].child)

    # How it is done.

    def subscriptions(self):
        """The dialogs in which somebody watches us, by their first SUBSCRIBE."""
        dialogs = {}
        for message in self.listener.received(lambda m: m.method == "SUBSCRIBE" and "silent" not in m.headers["to"]):
            if message.headers.get("expires") == "0":
                dialogs.pop(message.headers["call-id"], None)
            else:
                dialogs.setdefault(message.headers["call-id"], message)
        return list(dialogs.values())

    def notify(self, subscription, state):
        call = subscription.headers["call-id"]
        answered = lambda: [m for m in self.listener.messages() if m.direction == ">" and m.headers.get("call-id") == call]
        answer = processes.wait("our answer to the SUBSCRIBE", answered)[0]
        tag_of = lambda header: re.search(r"tag=([^;\s]+)", header).group(1)
        number = self.notified[call] = self.notified.get(call, 0) + 1
        inside = lambda header: re.search(r"<([^>]*)>", header).group(1)
        status = self.request(
            "NOTIFY", inside(subscription.headers["contact"]), inside(subscription.headers["from"]),
            "Event: presence\nSubscription-State: active;expires=3000\nContent-Type: application/pidf+xml\n",
            pidf(self.person.uri, state), call_id=call, tag=tag_of(answer.headers["to"]),
            to_tag=";tag=" + tag_of(subscription.headers["from"]), cseq=number)
        if status != 200:
            raise Missed(f"NOTIFY was answered {status}")

    def request(self, *arguments, **options):
        run, _port = self.scenario(*arguments, **options)
        status = self.answer_of(run)
        run.child.stop()
        return status

    def scenario(self, method, target, to, more="", body="", after="", call_id=None, tag=None, to_tag="", cseq=1):
        fields = dict(method=method, target=target, to=to, me=self.person.uri, user=self.person.user,
                      tag=tag or secrets.token_hex(6), to_tag=to_tag, body=body,
                      contact_port="[local_port]" if method == "SUBSCRIBE" else self.port)
        text = '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="request">'
        text += REQUEST.format(cseq=cseq, more=more, **fields)
        if not self.way.direct:
            challenge = "401" if method == "REGISTER" else "407"
            credentials = f"[authentication username={self.person.user} password={self.person.password}]\n"
            text += f'\n  <recv response="{challenge}" auth="true"/>'
            text += REQUEST.format(cseq=cseq + 1, more=credentials + more, **fields)
        text += '\n  <recv response="100" optional="true"/>'
        if not after:
            text += "".join(f'\n  <recv response="{code}" optional="true" next="done"/>'
                            for code in ("202", "403", "404", "480", "489", "503"))
            after = '\n  <recv response="200"/>'
        text += f'{after}\n  <label id="done"/>\n  <nop/>\n</scenario>\n'
        port = processes.free_port()
        identity = ["-cid_str", call_id or f"%u-{secrets.token_hex(4)}@%s"]
        run = Run(self.place, text, [f"127.0.0.1:{self.way.next_hop}", "-p", port, "-m", 1, *identity])
        return run, port

    def answer_of(self, run, seconds=20):
        """The status of the final answer to what this process sent."""
        def final():
            codes = [m for m in run.messages() if m.direction == "<" and re.match(r"SIP/2.0 (?!1|401|407)", m.first)]
            return codes and codes[-1]
        self.last = processes.wait("an answer", final, seconds)
        return int(self.last.first.split()[1])
