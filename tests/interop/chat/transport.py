"""SIP over UDP and TCP at one port (RFC 3261 §18)."""

import asyncio

from .message import Garbled, Stream, parse

# Above this a request goes by TCP, when it could have gone by UDP (§18.1.1).
DATAGRAM = 1300


class Transport:
    """`arrived(message, back, protocol)`: `back(message)` answers where it came from."""

    def __init__(self, arrived, garbled=lambda why: None):
        self.arrived, self.garbled = arrived, garbled
        self.host, self.port, self.udp, self.server = None, None, None, None
        self.connections, self.tasks = {}, set()

    async def start(self, host, port):
        loop = asyncio.get_running_loop()
        while True:
            self.server = await asyncio.start_server(self._accepted, host, port)
            self.host, self.port = self.server.sockets[0].getsockname()[:2]
            try:
                self.udp, _protocol = await loop.create_datagram_endpoint(lambda: Datagrams(self), (host, self.port))
                return
            except OSError:
                # Free for TCP, taken for UDP.
                self.server.close()
                if port:
                    raise

    async def stop(self):
        self.udp.close()
        self.server.close()
        for stream in list(self.connections.values()):
            stream.close()
        for task in list(self.tasks):
            task.cancel()

    def protocol_for(self, protocol, size):
        return "TCP" if protocol == "UDP" and size > DATAGRAM else protocol

    async def send(self, data, protocol, host, port):
        """OSError when nobody is there."""
        if protocol == "UDP":
            self.udp.sendto(data, (host, port))
            return
        stream = self.connections.get((host, port))
        if stream is None or stream.is_closing():
            reader, stream = await asyncio.open_connection(host, port, local_addr=(self.host, 0))
            self.connections[host, port] = stream
            task = asyncio.get_running_loop().create_task(self._read(reader, stream, (host, port)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        stream.write(data)
        await stream.drain()

    async def _accepted(self, reader, stream):
        await self._read(reader, stream, stream.get_extra_info("peername")[:2])

    async def _read(self, reader, stream, peer):
        self.connections.setdefault(peer, stream)
        messages = Stream()
        try:
            while data := await reader.read(65536):
                for message in messages.feed(data):
                    self.arrived(message, lambda answer: None if stream.is_closing() else stream.write(answer.encode()), "TCP")
        except Garbled as error:
            self.garbled(str(error))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if self.connections.get(peer) is stream:
                del self.connections[peer]
            stream.close()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, transport):
        self.transport, self.socket = transport, None

    def connection_made(self, transport):
        self.socket = transport

    def datagram_received(self, data, addr):
        if not data.strip():
            return  # A keep-alive.
        try:
            message = parse(data)
        except Garbled as error:
            return self.transport.garbled(str(error))
        self.transport.arrived(message, lambda answer: self.socket.sendto(answer.encode(), addr), "UDP")

    def error_received(self, exc):
        """An ICMP error: the timers will see to it."""
