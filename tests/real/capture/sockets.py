"""Conversations of real sockets with ends that are known; the first argument says which."""

import ctypes
import select
import socket
import struct
import sys
import time

SERVER = ("127.0.0.1", 8470)
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55
# A socket filter (struct sock_fprog) of one instruction that lets nothing through: what arrives is as good as lost.
RETURN_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
NOTHING = struct.pack("@HP", 1, ctypes.addressof(RETURN_NOTHING))


def hears(sock, does):
    if does:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    else:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, NOTHING)


def connection(server):
    client = socket.create_connection(SERVER, timeout=5)
    return client, server.accept()[0]


def close(client, served):
    client.shutdown(socket.SHUT_WR)
    assert served.recv(1) == b""
    served.close()
    assert client.recv(1) == b""
    client.close()


def until(done):
    end = time.monotonic() + 8
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def info(sock, offset):
    """A number of struct tcp_info (tcp(7))."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), offset)[0]


def unacknowledged(sock):
    return info(sock, 24)


def resent(sock):
    return info(sock, 100)


def dropped(sock):
    """How many packets the socket's filter has turned away (SK_MEMINFO_DROPS)."""
    return struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8]


def begin():
    client = socket.socket()
    client.setblocking(False)
    return client


def ends(server):
    """Three connections that the server resets, four that it answers after 100 ms, two that are refused."""
    for _ in range(3):
        client, served = connection(server)
        served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served.close()
        client.close()
    for status in (200, 301, 404, 503):
        client, served = connection(server)
        client.sendall(b"GET /marker HTTP/1.1\r\nHost: shop\r\n\r\n")
        served.recv(100)
        time.sleep(0.1)
        served.sendall(b"HTTP/1.1 %d Marker\r\n\r\n" % status)
        client.recv(100)
        close(client, served)
    server.close()
    for _ in range(2):
        try:
            socket.create_connection(SERVER, timeout=5)
        except ConnectionRefusedError:
            pass


def lost(server):
    """Data that is lost twice or more on its way; prints how often the kernel says that it sent it again."""
    client, served = connection(server)
    hears(served, False)
    client.sendall(b"x" * 1000)
    until(lambda: resent(client) >= 2)
    hears(served, True)
    assert len(served.recv(1000, socket.MSG_WAITALL)) == 1000
    until(lambda: unacknowledged(client) == 0)
    print(resent(client))
    close(client, served)


def handshakes(server):
    """One whose SYN is lost once, one that nobody answers, one whose answer nobody hears."""
    hears(server, False)
    late = begin()
    late.connect_ex(SERVER)
    until(lambda: dropped(server) == 1)
    hears(server, True)
    assert select.select([], [late], [], 5)[1]
    deaf = begin()
    hears(deaf, False)
    deaf.connect_ex(SERVER)
    until(lambda: dropped(deaf) == 1)
    hears(server, False)
    unheard = begin()
    unheard.connect_ex(SERVER)
    # Whoever looks does so until these have had their second.
    time.sleep(10)


def hostile(server):
    """Packets that contradict themselves, fifty of each sort, and after them one connection."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("lo", 0))
    ports = struct.pack("!HH", 5000, SERVER[1])
    tcp = ports + struct.pack("!IIBBHHH", 1, 1, 0x50, 0x02, 1024, 0, 0)
    addresses = socket.inet_aton("127.0.0.9") + socket.inet_aton("127.0.0.1")

    def four(tcp, total=None, header=5):
        length = 20 + len(tcp) if total is None else total
        return b"\x08\x00" + struct.pack("!BBHIBBH", 0x40 | header, 0, length, 0, 64, 6, 0) + addresses + tcp

    def six(tcp, length):
        return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, 6, 64) + bytes(32) + tcp

    for packet in (
        four(tcp, total=20),  # no room for the TCP header that is there
        four(tcp, total=0),
        four(tcp[:12] + b"\x00" + tcp[13:]),  # a TCP header of no length
        four(tcp[:12] + b"\xf0" + tcp[13:]),  # one that is longer than the packet
        four(tcp[:12] + b"\x40" + tcp[13:] + bytes(60)),
        six(tcp, 0),
        six(tcp, 19),
    ):
        for _ in range(50):
            wire.send(bytes(12) + packet)
    close(*connection(server))


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(SERVER)
server.listen(16)
globals()[sys.argv[1]](server)
