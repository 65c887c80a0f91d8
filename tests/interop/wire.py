"""The way between the gateway and its XMPP server, which can be cut."""

import socket
import threading


class Wire:
    """Carries connections to a port of this machine, until it is cut."""

    def __init__(self, port):
        self.port_behind = port
        self.ends = []
        self.deaf = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.whole = threading.Event()
        self.whole.set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _address = self.listener.accept()
            except OSError:
                return
            if not self.whole.is_set():
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.port_behind))
            self.ends += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, source, sink):
        try:
            while data := source.recv(65536):
                if self.whole.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        # What the server sends when nobody listens any more is read all the same, where it is not to know.
        if not self.deaf.is_set():
            close(source, sink)

    def cut(self, noticed=True):
        """Cuts it: the server notices, or goes on sending into nothing. The gateway cannot connect again before `mend`."""
        self.whole.clear()
        if noticed:
            close(*self.ends)
        else:
            self.deaf.set()
            for near in self.ends[::2]:
                close(near)

    def mend(self):
        self.deaf.clear()
        close(*self.ends)
        self.ends.clear()
        self.whole.set()

    def end(self):
        self.listener.close()
        close(*self.ends)


def close(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()
