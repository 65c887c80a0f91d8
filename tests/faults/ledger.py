"""The books of a load: what was said, answered, heard, told and shown, seen from outside; and what must be true of it.

Every message has a number in its text. `Ledger` only takes down; `checks.py` judges.
"""

import json
import re
import threading
import time

TO_SIP, TO_XMPP = "XMPP → SIP", "SIP → XMPP"
_number = re.compile(r"~(\d+)\.(\d+)~")


class Message:
    """One message, and what became of it as far as the two ends saw."""

    __slots__ = ("number", "said", "answers", "heard", "again", "told", "unanswered")

    def __init__(self, number, said):
        self.number, self.said = number, said
        # (when, status, who said it) of each final answer; only SIP senders have them.
        self.answers = []
        # (when, name, delayed): each time that it was shown to a person. The name is what a client would know it again by.
        self.heard = []
        # (when): it came again, and the client knew it.
        self.again = []
        # (when, what): the sender heard that it failed.
        self.told = []
        # When a SIP sender stopped waiting for an answer.
        self.unanswered = None

    @property
    def accepted(self):
        return any(status < 300 for _when, status, _who in self.answers)

    @property
    def refused(self):
        return bool(self.answers) and not self.accepted

    @property
    def settled(self):
        """Whether nothing more need come."""
        return bool(self.heard or self.told) or self.refused


class Pair:
    """Who writes to whom, one way."""

    def __init__(self, index, way, sender, recipient, reports):
        self.index, self.way, self.sender, self.recipient = index, way, sender, recipient
        self.recipient_uri = f"sip:{recipient}"
        # Whether each message asks for a notification of its failure.
        self.reports = reports
        self.messages = {}
        # Failures that were told of without saying of which message: (when, how many).
        self.unnamed = []

    def __str__(self):
        return f"{self.sender} → {self.recipient}"


class Break:
    """Something was broken from `begin` to `end` (all is well again, clients are back)."""

    def __init__(self, what, begin):
        self.what, self.begin, self.end = what, begin, None

    def covers(self, when, before=0.0, after=0.0):
        return self.begin - before <= when <= (self.end if self.end is not None else float("inf")) + after


class Shown:
    """One person's presence as another sees it. The truth and what is shown are (open?, words)."""

    def __init__(self, way, watched, watcher):
        self.way, self.watched, self.watcher = way, watched, watcher
        self.truth, self.since, self.seen, self.at = None, 0.0, None, 0.0
        # When what is true was last handed over: a NOTIFY's answer. None while it is on its way.
        self.handed = None
        # When a notifier that nobody answered for half a minute gave the watcher up, and was not asked again yet.
        self.given_up = None

    def true(self, state):
        if state != self.truth:
            self.truth, self.since, self.handed = state, time.monotonic(), None

    def show(self, state):
        if state != self.seen:
            self.seen, self.at = state, time.monotonic()

    def __str__(self):
        return f"{self.watched} as {self.watcher} sees them"


class Ledger:
    """Any thread may write."""

    def __init__(self, path=None):
        self.pairs, self.breaks, self.shown, self.strays = [], [], {}, []
        self.began = time.monotonic()
        self._lock = threading.Lock()
        self._file = open(path, "w", encoding="utf-8") if path else None

    def pair(self, way, sender, recipient, reports=False):
        self.pairs.append(Pair(len(self.pairs), way, sender, recipient, reports))
        return self.pairs[-1]

    def note(self, event, **more):
        if self._file:
            with self._lock:
                self._file.write(json.dumps({"at": round(time.monotonic() - self.began, 3), "event": event, **more}) + "\n")
                self._file.flush()

    # Messages.

    def say(self, pair):
        """The number of a new message, and its text."""
        message = Message(len(pair.messages) + 1, time.monotonic())
        pair.messages[message.number] = message
        text = f"Speak ~{pair.index}.{message.number}~ – ü <&> 🌙"
        self.note("said", pair=pair.index, number=message.number)
        return message, text

    def find(self, text, pair=None):
        """Pair and message that a text names; of this pair's two ends, if one is given."""
        found = _number.search(text or "")
        if not found:
            return None, None
        index, number = int(found[1]), int(found[2])
        if index >= len(self.pairs):
            return None, None
        return self.pairs[index], self.pairs[index].messages.get(number)

    def answer(self, pair, message, status, who):
        message.answers.append((time.monotonic(), status, who))
        self.note("answered", pair=pair.index, number=message.number, status=status, who=who)

    def no_answer(self, pair, message):
        message.unanswered = time.monotonic()
        self.note("unanswered", pair=pair.index, number=message.number)

    def hear(self, text, recipient, name, delayed=False):
        """A person is shown a text."""
        pair, message = self.find(text)
        if message is None or pair.recipient != recipient:
            self.strays.append(f"{recipient} was shown {text!r}")
            return
        message.heard.append((time.monotonic(), name, delayed))
        self.note("heard", pair=pair.index, number=message.number, name=name, delayed=delayed)

    def hear_again(self, text):
        pair, message = self.find(text)
        if message is not None:
            message.again.append(time.monotonic())
            self.note("again", pair=pair.index, number=message.number)

    def tell(self, pair, number, what):
        """The sender hears that a message failed."""
        message = pair.messages.get(number)
        if message is None:
            self.strays.append(f"{pair.sender} was told of a message that they never wrote: {what}")
            return
        message.told.append((time.monotonic(), what))
        self.note("told", pair=pair.index, number=number, what=what)

    def tell_unnamed(self, pair, count, what):
        pair.unnamed.append((time.monotonic(), count))
        self.note("told-unnamed", pair=pair.index, count=count, what=what)

    # Presence.

    def watch(self, way, watched, watcher):
        return self.shown.setdefault((watched, watcher), Shown(way, watched, watcher))

    def show(self, watched, watcher, state):
        if (watched, watcher) in self.shown:
            self.shown[watched, watcher].show(state)
            self.note("shown", watched=watched, watcher=watcher, state=state)

    # Faults.

    def break_begins(self, what):
        self.breaks.append(Break(what, time.monotonic()))
        self.note("break", what=what)
        return self.breaks[-1]

    def break_ends(self, found):
        found.end = time.monotonic()
        self.note("mended", what=found.what)

    def unsettled(self):
        """Messages that still need a fate. Those of SIP senders that nobody answered may have one or none."""
        return [(pair, message) for pair in self.pairs for message in pair.messages.values()
                if not message.settled and (pair.way == TO_SIP or (message.accepted and not pair.unnamed)
                                            or (not message.answers and message.unanswered is None))]
