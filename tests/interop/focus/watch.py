"""A subscription to a room (RFC 6665 §4.2, RFC 4575 §3): the notifier's side.

The first document and those after a refresh are whole; between them go the changes, each from what this watcher has
answered last, never two at a time and not more often than the habits say.
"""

import asyncio

from chat.message import address

from . import document

DEFAULT = 3600
# Answers to a NOTIFY that end the subscription (RFC 6665 §4.2.2); a 408 of our own is one.
GONE = {404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 503, 604}


class Watch:
    """`member`: whose dialog it shares; None: it has its own."""

    def __init__(self, room, dialog, watcher, member, event):
        self.room, self.dialog, self.watcher, self.member, self.event = room, dialog, watcher, member, event
        self.agent, self.habits = room.focus.agent, room.focus.habits
        self.version, self.shown, self.whole, self.until = 0, None, True, 0
        # Documents of an order, instead of ours.
        self.given, self.reason, self.over = [], None, False
        self.wake, self.rush = asyncio.Event(), asyncio.Event()
        self.last = 0

    @property
    def now(self):
        return asyncio.get_running_loop().time()

    def lasts(self, seconds):
        """From a SUBSCRIBE on: a whole document at once. 0 seconds: it is the last one."""
        self.until, self.whole = self.now + seconds, True
        if seconds == 0:
            self.reason = "timeout"
        self.hurry()

    def changed(self):
        self.wake.set()

    def hurry(self):
        self.rush.set()
        self.wake.set()

    def give(self, data):
        """A document that a test has written."""
        self.given.append(data)
        self.hurry()

    def end(self, reason):
        self.reason = self.reason or reason
        self.hurry()

    async def run(self):
        while not self.over:
            try:
                await asyncio.wait_for(self.wake.wait(), max(self.until - self.now, 0.01))
            except TimeoutError:
                self.reason = self.reason or "timeout"
            left = self.last + self.habits.interval - self.now
            if left > 0 and self.reason is None:
                await self._pause(left)
            self.wake.clear()
            self.rush.clear()
            await self._next()
        self.room.unwatch(self)

    async def _pause(self, seconds):
        try:
            await asyncio.wait_for(self.rush.wait(), seconds)
        except TimeoutError:
            pass

    async def _next(self):
        """One NOTIFY, if there is something to say."""
        while self.given:
            await self._notify(self.given.pop(0))
        state = self.room.state()
        if self.reason is None and not self.whole and state == self.shown:
            return
        reason, body = self.reason, self._body(state)
        self.shown, self.whole = state, False
        await self._notify(body, reason)

    def _body(self, state):
        writer = document.Writer(self.habits.escaped)
        self.version = self.room.version() if self.habits.gaps else self.version + 1
        if self.room.closed:
            return writer.deleted(state, self.version)
        if self.whole or self.habits.full_only or self.shown is None:
            return writer.full(state, self.version)
        return writer.partial(self.shown, state, self.version)

    async def _notify(self, body, reason=None):
        request = self.dialog.request("NOTIFY")
        left = max(int(self.until - self.now), 0)
        request.headers += [("Contact", self.room.contact()), ("Event", self.event),
                            ("Subscription-State", f"terminated;reason={reason}" if reason else f"active;expires={left}"),
                            ("Allow-Events", "conference, refer"), ("Content-Type", document.TYPE)]
        request.body = body
        self.last, self.over = self.now, reason is not None
        answer = await self.agent.send(request, dialog=self.dialog)
        self.room.tell(notified=self.watcher, status=answer.status, version=self.version, over=self.over)
        if answer.status in GONE:
            self.over = True


def wanted(request, longest=DEFAULT):
    """How long a SUBSCRIBE asks for, and gets at most; what is wrong with it, as a status and further headers."""
    event = (request.get("Event") or "").split(";")[0].strip()
    if event != "conference":
        return None, 489, [("Allow-Events", "conference, refer")]
    accepts = [part.split(";")[0].strip().lower() for part in request.all("Accept")]
    if accepts and not {document.TYPE, "application/*", "*/*"} & set(accepts):
        return None, 406, [("Accept", document.TYPE)]
    if not address(request.get("Contact") or ""):
        return None, 400, []
    text = request.get("Expires") or str(DEFAULT)
    if not text.isdigit():
        return None, 400, []
    return min(int(text), longest), None, []
