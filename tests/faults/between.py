"""What stands between two ends and does harm: a proxy of datagrams, and one of streams. Each is a process of its own.

    between.py udp PORT=TO [PORT=TO…]      every datagram is late by chance, may come twice or not at all
    between.py tcp PORT=TO                 every piece is late; `stall` on standard input stops taking what goes forth, `flow` goes on

It says `ready` on standard output when it listens.
"""

import asyncio
import random
import sys

# Seconds by which a datagram is late: each its own, so later ones overtake.
LATE = (0.0, 0.3)
TWICE, LOST = 0.15, 0.02
# A stream's pieces keep their order.
PIECES_LATE = (0.02, 0.15)


class Datagrams(asyncio.DatagramProtocol):
    """From whoever sends to PORT, to TO; what comes back goes to whoever sent last."""

    def __init__(self, to):
        self.to, self.back = to, {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, source):
        asyncio.get_running_loop().create_task(self._forth(data, source))

    async def _forth(self, data, source):
        if source not in self.back:
            way = asyncio.get_running_loop().create_future()
            self.back[source] = way
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Back(self.transport, source), remote_addr=("127.0.0.1", self.to))
            way.set_result(transport)
        troubled((await self.back[source]).sendto, data)


class Back(asyncio.DatagramProtocol):
    def __init__(self, front, source):
        self.front, self.source = front, source

    def datagram_received(self, data, _address):
        troubled(self.front.sendto, data, self.source)

    def error_received(self, _error):
        pass  # Nobody listens there now.


def troubled(send, *arguments):
    for _copy in range(2 if random.random() < TWICE else 1):
        if random.random() >= LOST:
            asyncio.get_running_loop().call_later(random.uniform(*LATE), send, *arguments)


async def datagrams(ports):
    for port, to in ports:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda to=to: Datagrams(to), local_addr=("127.0.0.1", port))


async def streams(ports, flowing):
    async def pieces(reader, writer, forth):
        try:
            while True:
                if forth:
                    await flowing.wait()
                data = await reader.read(16384)
                if not data:
                    break
                await asyncio.sleep(random.uniform(*PIECES_LATE))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader, writer, to):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pieces(reader, back, True), pieces(there, writer, False))
    for port, to in ports:
        await asyncio.start_server(lambda reader, writer, to=to: connected(reader, writer, to), "127.0.0.1", port, limit=65536)


async def main():
    kind, *pairs = sys.argv[1:]
    ports = [tuple(map(int, pair.split("="))) for pair in pairs]
    flowing = asyncio.Event()
    flowing.set()
    await (datagrams(ports) if kind == "udp" else streams(ports, flowing))
    print('{"ready": true}', flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        (flowing.clear if b"stall" in line else flowing.set)()


if __name__ == "__main__":
    asyncio.run(main())
