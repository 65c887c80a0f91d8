"""Several people on both sides who write to each other all the time, and show themselves; on a thread of its own.

Everything public may be called from any thread, and waits for the loop where that matters.
"""

import asyncio
import random
import threading
import time

import processes
from ledger import TO_SIP, TO_XMPP
from rooms import RoomCouple
from sessions import Couple
from sip_people import People
from xmpp_people import Client

# How often each pair says something, and each person shows something else, on average.
SAY, SHOW = 0.4, 3.0


class Load:
    def __init__(self, place, ledger, hop, sip_ports, proxied, presence, seed, say=SAY):
        """`hop`: where phones send everything. `sip_ports`: where they listen, and where they say that they do. `presence`: whether
        each couple sees each other."""
        self.place, self.ledger, self.proxied, self.presence, self.every = place, ledger, proxied, presence, say
        self.random = random.Random(seed)
        self.saying = False
        self.loop = asyncio.new_event_loop()
        self.clients = {person.jid: Client(person, place.xmpp_port, ledger) for person in place.xmpp_people}
        self.sip = People(ledger, hop, place.sip_people, proxied)
        self.sip_ports = sip_ports
        self.couple = Couple(self, place.xmpp_crowd[0], place.sip_crowd[0]) if place.xmpp_crowd else None
        self.room = RoomCouple(self, place.xmpp_crowd[1], place.sip_crowd[1]) if len(place.xmpp_crowd) > 1 else None
        # What is under way: requests of phones that wait for their answer.
        self.waiting = 0
        self.tasks = []
        self.shows = 0
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def call(self, work, seconds=60):
        """Runs a coroutine on the loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def start(self):
        self.call(self._start())
        processes.wait("all XMPP users are online", self.online, 60)
        if self.proxied:
            self.register()
        couples = list(zip(self.place.xmpp_people, self.place.sip_people))
        for index, (juliet, _) in enumerate(couples):
            # With two people each: no lane is alone with its sender or its recipient.
            for romeo in {couples[index][1], couples[(index + 1) % len(couples)][1]}:
                self.ledger.pair(TO_SIP, juliet.jid, romeo.jid)
                self.ledger.pair(TO_XMPP, romeo.uri, juliet.jid, reports=index > 0)
        if self.presence:
            self._see_each_other(couples)
        if self.couple:
            self.call(self.couple.start())
        if self.room:
            self.call(self.room.start())
        self.call(self._begin())

    async def _start(self):
        await self.sip.start(*self.sip_ports)
        for client in self.clients.values():
            client.start()

    def _see_each_other(self, couples):
        for juliet, romeo in couples:
            self.ledger.watch(TO_SIP, juliet.jid, romeo.jid)
            self.ledger.watch(TO_XMPP, romeo.jid, juliet.jid)
            self.later(self._show, juliet.jid)
            self.later(self._show, romeo.uri)
            self.later(self.clients[juliet.jid].subscribe, romeo.jid)
            self.later(lambda uri=romeo.uri, whom=juliet.uri: self.sip.spawn(self.sip.watch(uri, whom)))
        processes.wait("all see each other", self.true, 30)

    def later(self, act, *arguments):
        self.loop.call_soon_threadsafe(act, *arguments)

    async def _begin(self):
        self.saying = True
        for pair in self.ledger.pairs:
            if self.couple and pair is self.couple.to_xmpp:
                continue
            self.tasks.append(self.loop.create_task(self._talk(pair)))
        if self.couple:
            self.tasks.append(self.loop.create_task(self.couple.talk()))
        if self.room:
            self.tasks.append(self.loop.create_task(self.room.talk()))
        if self.presence:
            for name in [*self.clients, *self.sip.people]:
                self.tasks.append(self.loop.create_task(self._change(name)))

    async def _talk(self, pair):
        while True:
            await asyncio.sleep(self.every * self.random.uniform(0.2, 1.8))
            if not self.saying:
                continue
            if pair.way == TO_SIP:
                client = self.clients[pair.sender]
                if client.online:
                    client.message(pair, pair.recipient)
                continue
            self.waiting += 1
            try:
                await self.sip.message(pair)
            finally:
                self.waiting -= 1

    async def _change(self, who):
        while True:
            await asyncio.sleep(SHOW * self.random.uniform(0.3, 1.7))
            if self.saying:
                self._show(who)

    def _show(self, who):
        self.shows += 1
        if who in self.clients:
            self.clients[who].show(f"x{self.shows}")
        else:
            self.sip.show(who, f"s{self.shows}")

    # What the main thread asks and does.

    def online(self):
        return all(client.online for client in self.clients.values())

    def true(self):
        return all(shown.truth is not None and shown.seen == shown.truth for shown in self.ledger.shown.values())

    def register(self):
        async def everybody():
            again = [self.couple.phone.agent.register()] if self.couple and self.couple.phone.registered else []
            await asyncio.gather(*(self.sip.register(person) for person in self.sip.people.values()), *again)
        self.call(everybody())

    def pause(self):
        self.saying = False

    def resume(self):
        self.saying = True

    def stop(self):
        async def end():
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            for client in self.clients.values():
                await client.stop()
            await self.sip.stop()
            for one in (self.couple, self.room):
                if one:
                    await one.stop()
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)

    def pulse(self, seconds=30):
        """A message of each pair that was said from now on has come: all is well again."""
        since = time.monotonic()

        def flows():
            return all(any(message.heard and message.said >= since for message in list(pair.messages.values())[-20:])
                       for pair in self.ledger.pairs)
        processes.wait("messages of all flow", flows, seconds)
