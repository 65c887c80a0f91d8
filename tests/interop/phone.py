"""What the scenes ask of a SIP client, and what clients have in common.

A client says what it can do in `CAN`; a scene that needs more is not played with it:
  watch          watches the presence of others (SUBSCRIBE)
  publish        tells its own presence through a proxy (PUBLISH)
  notify         tells its own presence to whoever asks it (SUBSCRIBE to the phone itself)
  publish-away   its own presence has more than open and closed
  status         tells what became of a message that it sent
  report         sends notifications of delivery and display (RFC 5438)
  restarts       is good for the scenes in which servers go and come: once is enough
  silent         plays a second person as well, whose phone knows nothing of presence
What it can do only behind a proxy is in `NOT_DIRECT`. AWAY_IS says what it makes of somebody who is away.
"""

OPEN, AWAY, CLOSED = "open", "away", "closed"
# What became of a message, where a client does not tell the code of the answer.
REFUSED = "refused"


class Way:
    """How a phone reaches the gateway: itself the gateway's peer, on the peer's port, or one of a proxy's users."""

    def __init__(self, gateway_port, peer_port, proxy_port=None):
        self.gateway_port, self.peer_port, self.proxy_port = gateway_port, peer_port, proxy_port

    @property
    def direct(self):
        return self.proxy_port is None

    @property
    def next_hop(self):
        """The port to which a phone sends everything."""
        return self.gateway_port if self.direct else self.proxy_port


def pidf(entity, state):
    """A presence document as phones write it (RFC 3863, RFC 4480)."""
    person = ('<dm:person id="p1"><rpid:activities><rpid:away/></rpid:activities></dm:person>' if state == AWAY else "")
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            f' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{entity}">'
            f'<tuple id="t1"><status><basic>{"closed" if state == CLOSED else "open"}</basic></status>'
            f"<contact>{entity}</contact></tuple>{person}</presence>")
