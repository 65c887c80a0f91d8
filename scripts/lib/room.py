"""The room of the conversation: two XMPP users and a SIP user in a room of the XMPP server, told as the rest is."""

from chat import ChatPhone
from xmpp_client import CLIENT, Client

MUC = "http://jabber.org/protocol/muc"
USER = "{http://jabber.org/protocol/muc#user}"
NAME, NICK = "verona", "Romeo Montague"


def part(story, client, setup, trace, seconds):
    sip, xmpp = setup["sip"], setup["xmpp"]
    place = f"{NAME}@{setup['rooms']}"
    story.part(f"{xmpp['user']} and {setup['nurse']['user']} (XMPP) enter a room, {place}; {sip['user']} (SIP) calls it")
    nurse = Client(setup["nurse"]["user"], setup["nurse"]["password"], xmpp["domain"], (xmpp["host"], xmpp["port"]), "hall", trace)
    phone = ChatPhone(f"sip:{sip['user']}@{sip['domain']}", sip["password"], (sip["host"], sip["port"]), trace)
    try:
        enter(client, place, "Juliet", seconds)
        unlock = f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
        client.send(f"<iq type='set' to='{place}' id='unlock'>{unlock}</iq>")
        client.wait("iq", lambda answer: answer.get("id") == "unlock", seconds)
        story.saw("both are in the room", enter(nurse, place, "Nurse", seconds))
        if story.saw("the phone is there", phone.wait(lambda event: "ready" in event, seconds)):
            talk(story, client, nurse, phone, place, seconds)
        phone.do("register", expires=0)
    finally:
        phone.close()
        client.send(f"<presence to='{place}/Juliet' type='unavailable'/>")
        nurse.close()


def enter(client, place, nick, seconds):
    client.send(f"<presence to='{place}/{nick}'><x xmlns='{MUC}'/></presence>")
    own = lambda presence: any(status.get("code") == "110" for status in presence.iter(USER + "status"))
    return client.wait("presence", lambda presence: presence.get("from") == f"{place}/{nick}" and own(presence), seconds)


def talk(story, client, nurse, phone, place, seconds):
    opened = phone.do("invite", to=f"sip:{place}", name=NICK, accepts=["message/cpim"], chatroom="nickname private-messages")
    if not story.saw("the room lets him in: the call is answered", opened and opened["status"] == 200):
        return
    call = opened["call"]
    in_room = lambda presence: presence.get("from") == f"{place}/{NICK}" and presence.get("type") is None
    story.saw(f"they see “{NICK}” come", client.wait("presence", in_room, seconds))
    phone.do("watch", call=call)
    names = lambda event: sorted(entry.get("name") for entry in event["roster"].values())
    everybody = ["Juliet", "Nurse", NICK]
    story.saw(f"his phone shows who is there: {', '.join(everybody)}",
              phone.wait(lambda event: "roster" in event and names(event) == everybody, seconds))

    said = "Is Romeo here?"
    phone.mark()
    nurse.send(f"<message type='groupchat' to='{place}' id='n1'><body>{said}</body></message>")
    story.saw(f"Nurse (XMPP): “{said}”", phone.wait(lambda event: event.get("message") == said and event["name"] == "Nurse", seconds))
    said = "I am. Who asks?"
    sent = phone.do("speak", call=call, text=said)
    heard = lambda message: message.get("from") == f"{place}/{NICK}" and message.findtext(CLIENT + "body") == said
    story.saw(f"{NICK} (SIP): “{said}”, read by both", all([
        sent and sent["status"] == 200, *(one.wait("message", heard, seconds) is not None for one in (client, nurse))]))
    said = "Three words, dear Romeo."
    phone.mark()
    client.send(f"<message type='chat' to='{place}/{NICK}' id='j1'><body>{said}</body><x xmlns='{MUC}#user'/></message>")
    story.saw(f"Juliet, to him alone: “{said}”",
              phone.wait(lambda event: event.get("message") == said and ";gr=" in (event["to"] or ""), seconds))
    phone.do("bye", call=call)
    gone = lambda presence: presence.get("from") == f"{place}/{NICK}" and presence.get("type") == "unavailable"
    story.saw("he hangs up: they see him leave", client.wait("presence", gone, seconds))
