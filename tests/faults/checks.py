"""What must be true of the books at rest: the invariants of docs/testing.md, as far as they show outside.

Each check gives violations as (number of the invariant, text). What a fault may leave in doubt is counted as ambiguous and is no
violation: a process that dies takes along what it had read and not yet taken over, or had written and not yet been told of.
"""

from collections import Counter

from ledger import TO_SIP

# What one end has written so long before a process died may have died with it, in a socket's buffer or in its memory.
IN_FLIGHT = 2.0
# Whose death takes along messages to XMPP that were answered: the server's, or one on the way.
SERVERS = ("Prosody", "ejabberd")


class Findings:
    def __init__(self):
        self.violations = []
        self.count = Counter()

    def violation(self, invariant, text):
        self.violations.append((invariant, text))


def of_messages(ledger, findings):
    for pair in ledger.pairs:
        judge = to_sip if pair.way == TO_SIP else to_xmpp
        judge(ledger, pair, findings)
        _order(ledger, pair, findings)
    for stray in ledger.strays:
        findings.violation(3, stray)


def to_sip(ledger, pair, findings):
    """Nobody tells an XMPP sender that a message arrived: it is heard, or an error comes, or it died with a link."""
    for message in pair.messages.values():
        where = f"{pair} #{message.number}"
        _count(findings, message)
        names = {name for _when, name, _delayed in message.heard}
        if len(names) == 1 and len(message.heard) > 1 and _break_between(ledger, message.heard[0][0], message.heard[-1][0]):
            # A session broke before it confirmed: the text comes again under its name, which a client knows.
            findings.count["ambiguous"] += 1
        elif len(message.heard) > 1:
            findings.violation(4, f"{where} was shown {len(message.heard)} times, under {len(names)} names")
        if len(message.told) > 1:
            findings.violation(6, f"{where}: its error was told {len(message.told)} times")
        if message.heard and message.told:
            if _doubtful(ledger, message):
                findings.count["ambiguous"] += 1
            else:
                findings.violation(3, f"{where} was shown and its sender was told that it failed: {message.told[0][1]}")
        if not message.heard and not message.told:
            # Its server and the link keep the order: what was said later and arrived over the same link proves a loss.
            found = _break_at(ledger, message.said)
            if found is None:
                findings.violation(1, f"{where} was lost without a fault near")
            elif later := next((other.number for other in pair.messages.values() if other.number > message.number
                                and other.said < found.begin and other.heard), None):
                findings.violation(1, f"{where} was lost, and #{later} arrived")
            else:
                findings.count["ambiguous"] += 1


def to_xmpp(ledger, pair, findings):
    lost = []
    for message in pair.messages.values():
        where = f"{pair} #{message.number}"
        _count(findings, message)
        names = Counter(name for _when, name, _delayed in message.heard)
        if len(names) > 1 and not _answered_by_others(message):
            findings.violation(4, f"{where} was shown under {len(names)} names")
        if len(message.heard) > 1:
            if _break_between(ledger, message.heard[0][0], message.heard[-1][0]):
                findings.count["ambiguous"] += 1
            else:
                findings.violation(4, f"{where} was shown {len(message.heard)} times")
        if message.heard and message.told:
            if _doubtful(ledger, message):
                findings.count["ambiguous"] += 1
            else:
                findings.violation(3, f"{where} was shown and its sender was told that it failed")
        if len(message.told) > 1:
            findings.violation(6, f"{where}: its failure was told {len(message.told)} times")
        if message.refused and message.heard:
            if _answered_by_others(message):
                findings.count["ambiguous"] += 1
            else:
                findings.violation(3, f"{where} was refused ({message.answers[0][1]}) and shown")
        if not message.answers and message.unanswered is not None:
            findings.count["ambiguous"] += 1
        if message.accepted and not message.heard and not message.told:
            lost.append(message)
    # Told by their number, without names.
    unnamed = sum(count for _when, count in pair.unnamed)
    findings.count["told"] += min(unnamed, len(lost))
    for message in lost[unnamed:]:
        # An XMPP server that dies takes along what it has confirmed and not yet handed to the client.
        when = message.answers[0][0]
        if any(found.what.startswith(SERVERS) and (found.covers(when, before=IN_FLIGHT) or found.covers(message.said))
               for found in ledger.breaks):
            findings.count["ambiguous"] += 1
        else:
            findings.violation(1, f"{pair} #{message.number} was answered {message.answers[0][1]}, and is neither shown nor told of")


def of_presence(ledger, findings, limits):
    """At rest: what is shown is true, and has been since the time that it may take."""
    for shown in ledger.shown.values():
        if shown.given_up is not None:
            # Only a refresh can find out that the notifier tells nothing more.
            findings.count["ambiguous"] += 1
        elif shown.seen != shown.truth:
            findings.violation(9, f"{shown}: {shown.seen}, and the truth is {shown.truth}")
        elif shown.at > limits[shown]:
            findings.violation(9, f"{shown}: true only {shown.at - limits[shown]:.1f} s after the time that it may take")


def of_figures(text, findings):
    """Invariant 1 in `/metrics`: the fates and what waits add up to what was accepted, and found in the store at the start."""
    values = {}
    for line in text.splitlines():
        if line.startswith("mostar_messages_"):
            name, value = line.rsplit(" ", 1)
            values[name] = int(float(value))
    for way in ("sip_to_xmpp", "xmpp_to_sip"):
        def figure(result):
            return sum(value for name, value in values.items() if name.startswith("mostar_messages_total{")
                       and f'direction="{way}"' in name and f'result="{result}"' in name)

        def gauge(name):
            return values.get(f'mostar_messages_{name}{{direction="{way}"}}', 0)
        accepted = figure("accepted") + figure("restored")
        fates = {result: figure(result) for result in ("delivered", "refused", "expired", "withdrawn")}
        waits = {name: gauge(name) for name in ("queued", "in_flight")}
        if accepted != sum(fates.values()) + sum(waits.values()):
            findings.violation(1, f"{way}: {accepted} accepted, {fates}, {waits}")
        if any(waits.values()):
            findings.violation(1, f"{way}: at rest there are {waits}")


def _count(findings, message):
    findings.count["said"] += 1
    findings.count["delivered"] += bool(message.heard)
    findings.count["told"] += bool(not message.heard and (message.told or message.refused))
    findings.count["again"] += len(message.again)


def _order(ledger, pair, findings):
    """First hearings come in the order in which they were said. A SIP sender waits for each answer; what got none may come late."""
    firsts = sorted((message.heard[0][0], message.number) for message in pair.messages.values()
                    if message.heard and not message.heard[0][2] and (pair.way == TO_SIP or message.answers))
    highest = 0
    for place, (when, number) in enumerate(firsts):
        if number < highest:
            overtook = [pair.messages[other] for _when, other in firsts[:place] if other > number]
            if pair.way == TO_SIP or not all(_died_with_a_server(ledger, other, when) for other in overtook):
                findings.violation(7, f"{pair}: #{number} came after #{highest}")
        highest = max(highest, number)


def _died_with_a_server(ledger, message, when):
    """Whether a message was shown before `when`, its server died, and it came again after `when`: then what came at `when` may have been
    before it the first time too, but put aside by the server for somebody who was about to log in."""
    first, last = message.heard[0][0], message.heard[-1][0]
    return when <= last and any(found.what.startswith(SERVERS) and first - IN_FLIGHT <= found.begin <= when for found in ledger.breaks)


def _break_at(ledger, when):
    return next((found for found in ledger.breaks if found.covers(when, before=IN_FLIGHT, after=0.5)), None)


def _break_between(ledger, first, last):
    return any(found.begin - IN_FLIGHT <= last and first <= (found.end or float("inf")) + 0.5 for found in ledger.breaks)


def _doubtful(ledger, message):
    """Something broke while it was on its way."""
    times = [when for when, *_ in [*message.heard, *message.told]]
    return _break_between(ledger, message.said, max(times))


def _answered_by_others(message):
    """A proxy on the way gave the answer, or nobody: the gateway's own is not known."""
    return not message.answers or any(who != "mostar" for _when, _status, who in message.answers)
