"""liblinphone, the library under the Linphone clients: as a phone that speaks JSON lines, by ctypes.

Commands: {"do": "send"|"publish"|"watch"|"compose"|"read"|"cpim", "to", "text", "state", "number"}. Events: {"ready":
true} when registered (or at once without a registrar), {"message": text, "from": URI}, {"presence": URI, "state"},
{"sent": number, "code"}, {"reported": number, "state"} for a notification, {"typing": URI, "active"}.
"""

import ctypes
import ctypes.util
import json
import os
import select
import sys

import processes
from phone import AWAY, CLOSED, OPEN, REFUSED

KEY = "linphone"
NAME = "liblinphone"
VERSION = processes.package_version("liblinphone10", "liblinphone12")
AWAY_IS = AWAY
CAN = {"watch", "publish", "notify", "publish-away", "status", "report"}
NOT_DIRECT = {"watch", "report"}  # It watches nobody while it is not registered, and keeps its notifications for later.

REGISTERED, FAILED = 2, 4
DELIVERED = 2  # Higher numbers are worse, but those of notifications.
REPORTED = {6: "delivered", 7: "displayed"}
ACTIVITY_AWAY = 1
ACCEPT = 2
TRACE = 2


class Phone:
    def __init__(self, place, person, way):
        self.place, self.person, self.way = place, person, way
        self.port = way.peer_port if way.direct else processes.free_port()
        self.child, self.sent, self.marked = None, 0, 0

    def start(self):
        name = f"linphone-{self.person.user}"
        hop = f"<sip:127.0.0.1:{self.way.next_hop};transport={'udp' if self.way.direct else 'tcp'}>"
        config = self.place.write(f"{name}/linphonerc", f"""
[sip]
bind_address=127.0.0.1
sip_port={self.port}
sip_tcp_port={self.port}
sip_tls_port=0
default_proxy=0
[proxy_0]
reg_proxy={hop}
reg_route={hop}
reg_identity={self.person.uri}
reg_expires=600
reg_sendregister={int(not self.way.direct)}
publish={int(not self.way.direct)}
[auth_info_0]
username={self.person.user}
passwd={self.person.password}
domain={self.person.domain}
""")
        home = self.place.path(name)
        os.makedirs(os.path.join(home, ".local/share/linphone"))  # It makes no folder for its database.
        self.child = processes.Talker(name, [sys.executable, __file__, config, int(self.way.direct)], self.place.folder,
                                      {"HOME": home})
        self.events = self.child.events
        self.events.wait("liblinphone registers", lambda event: "ready" in event, 20)

    def stop(self):
        if self.child is not None:
            self.child.kill()

    def send(self, to, text):
        number = self.write(to, text)
        return self.events.wait("what becomes of the message", lambda event: event.get("sent") == number)["code"]

    def write(self, to, text):
        """Sends without waiting; its number."""
        self.sent += 1
        self.child.tell(do="send", to=to, text=text, number=self.sent)
        return self.sent

    def publish(self, state):
        self.child.tell(do="publish", state=state)

    def serve_subscription(self, state):
        """It lets everybody watch who asks."""
        self.publish(state)

    def watch(self, uri):
        self.child.tell(do="watch", to=uri)

    def compose(self, to):
        """The person types a key."""
        self.child.tell(do="compose", to=to)

    def read(self, to):
        """The person reads all that has come."""
        self.child.tell(do="read", to=to)

    def use_cpim(self, to):
        """What is sent from now on is in CPIM."""
        self.child.tell(do="cpim", to=to)

    def wait_report(self, number, state, seconds=20):
        self.events.wait(f"a notification: {state}",
                         lambda event: event.get("reported") == number and event["state"] == state, seconds)

    def wait_typing(self, sender, active, seconds=20):
        self.events.wait(f"{sender} is shown as {'typing' if active else 'not typing'}",
                         lambda event: event.get("typing") == sender and event["active"] == active, seconds, self.marked)

    def mark(self):
        self.marked = self.events.mark()

    def wait_message(self, sender, text, seconds=20):
        self.events.wait(f"a message from {sender}",
                         lambda event: event.get("message") == text and event["from"].split(";")[0] == sender, seconds, self.marked)

    def wait_state(self, uri, state, seconds=20):
        self.events.wait(f"{uri} is shown as {state}",
                         lambda event: event.get("presence") == uri and event["state"] == state, seconds, self.marked)


def tell(**event):
    print(json.dumps(event), flush=True)


class Library:
    """The functions of the library; those named here give a pointer or a text, the others a number."""

    POINTERS = {"factory_get", "logging_service_get", "factory_create_core_3", "factory_create_core_cbs", "factory_create_address",
                "factory_create_chat_room_cbs", "core_get_chat_room", "chat_room_create_message_from_utf8",
                "chat_message_get_from_address", "core_create_presence_model", "core_create_presence_model_with_activity",
                "core_create_friend_with_address", "friend_get_presence_model", "friend_get_address",
                "presence_model_get_activity", "chat_message_ref"}
    TEXTS = {"chat_message_get_utf8_text", "address_as_string_uri_only"}

    def __init__(self):
        for number in (12, 10):
            try:
                self.library = ctypes.CDLL(f"liblinphone.so.{number}")
                return
            except OSError:
                continue
        raise OSError("liblinphone is not there")

    def __getattr__(self, name):
        function = getattr(self.library, f"linphone_{name}")
        function.restype = (ctypes.c_void_p if name in self.POINTERS else ctypes.c_char_p if name in self.TEXTS
                            else ctypes.c_int)

        def call(*arguments):
            return function(*[ctypes.c_void_p(a) if isinstance(a, int) and a > 0xffff else
                              a.encode() if isinstance(a, str) else a for a in arguments])
        return call


REGISTRATION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
MESSAGE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
PRESENCE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
COMPOSING = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ubyte)
SUBSCRIPTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


def main(config, direct):
    linphone = Library()
    factory = linphone.factory_get()
    linphone.logging_service_set_log_level(linphone.logging_service_get(), TRACE)
    core = linphone.factory_create_core_3(factory, config, None, None)
    # By number: the messages, and how far each has come.
    pending, seen = {}, {}
    # Rooms that tell of typing.
    rooms = set()

    @REGISTRATION
    def registration(_core, _proxy, state, why):
        if state == REGISTERED:
            tell(ready=True)
        elif state == FAILED:
            tell(failed=(why or b"").decode())

    def listen(room):
        if room not in rooms:
            rooms.add(room)
            linphone.chat_room_add_callbacks(room, room_callbacks)
        return room

    @MESSAGE
    def message(_core, room, received):
        listen(room)
        text = linphone.chat_message_get_utf8_text(received)
        sender = linphone.address_as_string_uri_only(linphone.chat_message_get_from_address(received))
        tell(message=(text or b"").decode(), **{"from": sender.decode()})

    @PRESENCE
    def presence(_core, friend):
        model = linphone.friend_get_presence_model(friend)
        if not model:
            return
        activity = linphone.presence_model_get_activity(model)
        away = activity and linphone.presence_activity_get_type(activity) == ACTIVITY_AWAY
        is_open = linphone.presence_model_get_basic_status(model) == 0
        uri = linphone.address_as_string_uri_only(linphone.friend_get_address(friend)).decode()
        tell(presence=uri, state=CLOSED if not is_open else AWAY if away else OPEN)

    @COMPOSING
    def composing(_room, address, active):
        tell(typing=linphone.address_as_string_uri_only(address).decode(), active=bool(active))

    @SUBSCRIPTION
    def subscription(_core, friend, _url):
        linphone.friend_set_inc_subscribe_policy(friend, ACCEPT)
        linphone.core_add_friend(core, friend)

    def befriend(address, watch):
        friend = linphone.core_create_friend_with_address(core, address)
        linphone.friend_enable_subscribes(friend, int(watch))
        linphone.friend_set_inc_subscribe_policy(friend, ACCEPT)
        linphone.core_add_friend(core, friend)

    def room_with(uri):
        return listen(linphone.core_get_chat_room(core, linphone.factory_create_address(factory, uri)))

    def do(order):
        kind = order["do"]
        if kind == "send":
            text = linphone.chat_room_create_message_from_utf8(room_with(order["to"]), order["text"])
            linphone.chat_message_ref(text)
            linphone.chat_message_send(text)
            pending[order["number"]] = text
        elif kind == "compose":
            linphone.chat_room_compose(room_with(order["to"]))
        elif kind == "read":
            linphone.chat_room_mark_as_read(room_with(order["to"]))
        elif kind == "cpim":
            linphone.chat_room_allow_cpim(room_with(order["to"]), 1)
        elif kind == "publish":
            if order["state"] == AWAY:
                model = linphone.core_create_presence_model_with_activity(core, ACTIVITY_AWAY, None)
            else:
                model = linphone.core_create_presence_model(core)
            linphone.presence_model_set_basic_status(model, int(order["state"] == CLOSED))
            linphone.core_set_presence_model(core, model)
        elif kind == "watch":
            befriend(order["to"], True)

    room_callbacks = linphone.factory_create_chat_room_cbs(factory)
    linphone.chat_room_cbs_set_is_composing_received(room_callbacks, composing)
    callbacks = linphone.factory_create_core_cbs(factory)
    linphone.core_cbs_set_registration_state_changed(callbacks, registration)
    linphone.core_cbs_set_message_received(callbacks, message)
    linphone.core_cbs_set_notify_presence_received(callbacks, presence)
    linphone.core_cbs_set_new_subscription_requested(callbacks, subscription)
    linphone.core_add_callbacks(core, callbacks)
    linphone.core_enable_friend_list_subscription(core, 0)
    linphone.core_start(core)
    if int(direct):
        tell(ready=True)
    rest = b""
    while True:
        linphone.core_iterate(core)
        for number, text in pending.items():
            state = linphone.chat_message_get_state(text)
            if state == seen.get(number, 0):
                continue
            if state >= DELIVERED and seen.get(number, 0) < DELIVERED:
                tell(sent=number, code=202 if state == DELIVERED or state in REPORTED else REFUSED)
            if state in REPORTED:
                tell(reported=number, state=REPORTED[state])
            seen[number] = state
        if select.select([0], [], [], 0.02)[0]:
            piece = os.read(0, 65536)
            if not piece:
                return
            rest += piece
            *lines, rest = rest.split(b"\n")
            for line in lines:
                do(json.loads(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
