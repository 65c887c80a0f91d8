"""The MSRP side of one member: what may be sent is passed on, the rest is answered with its code (RFC 7701 §6, §7)."""

from chat import cpim
from chat.endpoint import Endpoint
from chat.rules import REPORTING
from chat.session import Session
from chat.wire import Uri, must, new_ident

CPIM_TYPE = "message/cpim"


class Seat(Session):
    """`member`: whose it is; it is asked for what is allowed."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.member = None
        # By Message-ID: whether the headers of a message were good, else what its chunks are answered.
        self.good, self.refused = set(), {}

    def request(self, frame, connection):
        if frame.method != "NICKNAME":
            return super().request(frame, connection)
        self.judge.request(frame)
        for name in REPORTING:
            if frame.get(name) is not None:
                self.complain(must("RFC 7701 §7.1", f"a NICKNAME with {name}"))
        code, comment = self.member.nickname(frame.get("Use-Nickname"))
        return self.respond(frame, code, comment, connection)

    def _send(self, frame, connection):
        if frame.body is not None and self.member is not None and isinstance(self.manner.answer, str):
            refusal = self._screen(frame, frame.get("Message-ID"))
            if refusal is not None:
                self.incoming.pop(frame.get("Message-ID"), None)
                return self.respond(frame, *refusal, connection)
        return super()._send(frame, connection)

    def _screen(self, frame, name):
        """What a chunk is refused with, if it is: as soon as the headers of its message are there (§6.1)."""
        if name in self.refused or name in self.good:
            return self.refused.get(name)
        if (frame.get("Content-Type") or "").split(";")[0].strip().lower() != CPIM_TYPE:
            refusal = 415, "No Message/CPIM"
        else:
            known = self.incoming.get(name)
            try:
                message = cpim.parse((bytes(known.data) if known else b"") + frame.body)
            except ValueError as error:
                if frame.flag == "+":
                    return None
                self.complain(must("RFC 3862 §3", str(error)))
                refusal = 400, "No CPIM"
            else:
                for complaint in message.complaints:
                    self.complain(complaint)
                refusal = self.member.allows(message)
        if refusal is None:
            self.good.add(name)
        else:
            self.refused[name] = refusal
            self.tell(denied=name, status=refusal[0])
        return refusal


class Switch(Endpoint):
    """An endpoint whose sessions are seats."""

    def session(self, tell, secure=False, **options):
        name = new_ident().replace("%", "-")
        uri = Uri.of(self.host, self.ports.get(secure, 9), name, secure)
        session = self.sessions[name] = Seat(self, uri, tell, **options)
        return session
