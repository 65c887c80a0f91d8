"""What a focus does. The defaults are what the RFCs say; what differs is what real ones do, or may."""

from dataclasses import dataclass, field


@dataclass
class Habits:
    """
    Joining
      invite        status of every INVITE; 200: as the room says
      after         seconds before it
      most          how many devices a room takes; 486 for one more
      listed        only rooms that an order has made; else whoever calls a room makes it
      gruu          its Contact is a GRUU
      nameless      its Contact does not name the room, as a recorded one
      active        it opens the MSRP connection, where the other side lets it
    Chat room
      nicknames     `a=chatroom:nickname`; without it NICKNAME is answered 403
      private       `a=chatroom:private-messages`; without it a private message is answered 404, as any unknown address
      plain         no a=chatroom at all
      bare_nicks    a Use-Nickname without quotes is none the worse
      reserved      nicks that nobody gets
      nick_status   status of every NICKNAME; None: as it should be
      echo          a copy goes to the sender too
      typing        isComposing is relayed as texts are; else not at all
      history       how many lines a newcomer gets
      chatty        the room itself says who comes and goes
      reports       copies ask for success reports
      loose         ranges of copies count characters
      subjects      a CPIM Subject without a text sets the subject
    Roster
      watch         status of SUBSCRIBE; 200: taken
      outsiders     who is not in may watch
      longest       seconds of a subscription, at most
      notify_first  the NOTIFY is sent before the answer
      late_self     seconds before a newcomer is in the roster
      interval      seconds between two NOTIFYs to one watcher, but for a refresh
      gaps          one version for the whole room, so that watchers see gaps
      full_only     every document is whole
      escaped       a <uri> is escaped as if it were a part of one
      leaving       who has left is first "disconnected", then deleted; "deleted": gone at once
      entities      of a user: "aor"; "other", with the AOR among associated-aors; "hidden": nothing of the AOR;
                    "room": the room with gr=nick (RFC 7702 §4)
      xcon          the nick is an attribute (RFC 6501) and display-text the name; else display-text is the nick
    REFER
      refer         status of a REFER that is taken: 200, or 202 of older ones
      may_refer     who may ask others in: "all", "moderators", "nobody"
      may_kick      who may send others out
      refuses       where a refusal is told: in the "answer", or as "progress"
      deaf          REFER method=BYE is answered as if it worked, and nothing happens
    """
    invite: int = 200
    after: float = 0
    most: int = 1000
    listed: bool = False
    gruu: bool = True
    nameless: bool = False
    active: bool = False
    nicknames: bool = True
    private: bool = True
    plain: bool = False
    bare_nicks: bool = False
    reserved: list = field(default_factory=list)
    nick_status: int | None = None
    echo: bool = False
    typing: bool = True
    history: int = 0
    chatty: bool = False
    reports: bool = False
    loose: bool = False
    subjects: bool = False
    watch: int = 200
    outsiders: bool = True
    longest: int = 3600
    notify_first: bool = False
    late_self: float = 0
    interval: float = 1
    gaps: bool = False
    full_only: bool = False
    escaped: bool = False
    leaving: str = "disconnected"
    entities: str = "aor"
    xcon: bool = False
    refer: int = 200
    may_refer: str = "all"
    may_kick: str = "all"
    refuses: str = "answer"
    deaf: bool = False


# What the recorded focus did.
RECORDED = {"nameless": True, "gruu": False, "bare_nicks": True, "typing": False, "history": 10, "chatty": True, "reports": True,
            "loose": True, "gaps": True, "full_only": True, "escaped": True, "leaving": "deleted", "refer": 202, "deaf": True}
