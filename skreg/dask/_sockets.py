"""Sums of vectors over workers, by sockets of their own.

A star: rank 0 adds up what the others send, in the order of their ranks, and returns
the sum, so that all have the same bits. Peers prove to each other that they know the
token, which both have through the scheduler, by HMAC on random challenges; nothing but
numbers of a known size is read from a socket.
"""

import hmac
import secrets
import socket
import struct
import time

import numpy as np

TIMEOUT = 60.0  # seconds until a silent peer counts as lost
_HANDSHAKE_TIMEOUT = 2.0  # so that a stranger does not keep the others waiting
_CHALLENGE_SIZE = _PROOF_SIZE = 32

_open: dict = {}  # token: sockets in use in this process, of any rank


class PeerLost(RuntimeError):
    """A worker has gone in the middle of an epoch, or was told to stop."""


def listen(token, host):
    """Open the socket of rank 0.

    Parameters
    ----------
    token : bytes
        Secret of the group.
    host : str
        Interface to listen on.

    Returns
    -------
    (host, port)
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family)
    _open.setdefault(token, []).append(server)
    return server.getsockname()[:2]


def close(token):
    """Close all sockets of a group in this process; who waits for one, raises."""
    for link in _open.pop(token, ()):
        _close(link)


def _close(link):
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected, or closed already
        pass
    link.close()


class Sum:
    """Context that adds up vectors over the ranks of a group.

    Parameters
    ----------
    token : bytes
    rank, size : int
        Of this process, and how many there are.
    address : (host, port)
        Of rank 0.

    Raises
    ------
    PeerLost
        If a peer does not come, is silent for a minute or goes away.
    """

    def __init__(self, token, rank, size, address):
        self._token, self._rank, self._size = token, rank, size
        self._address = address
        self._links = []  # to all others in order, or to rank 0
        self._own = []  # sockets to be closed

    def __enter__(self):
        try:
            if self._rank == 0:
                self._links = self._accept()
            else:
                self._links = [self._connect()]
        except (OSError, KeyError) as error:  # KeyError: told to stop already
            self.__exit__()
            raise PeerLost(f"No link to the other workers: {error}") from error
        return self

    def __exit__(self, *exception):
        in_use = _open.get(self._token, [])
        for link in self._own:
            _close(link)
            if link in in_use:
                in_use.remove(link)
        if not in_use:
            _open.pop(self._token, None)

    def _keep(self, link):
        self._own.append(link)
        _open.setdefault(self._token, []).append(link)
        return link

    def __call__(self, values):
        """Replace a float64 vector by its sum over all ranks."""
        try:
            if self._rank == 0:
                part = np.empty_like(values)
                for link in self._links:
                    _receive_into(link, part)
                    values += part
                for link in self._links:
                    link.sendall(values)
            else:
                self._links[0].sendall(values)
                _receive_into(self._links[0], values)
        except OSError as error:
            raise PeerLost(f"Lost the link to another worker: {error}") from error

    def _accept(self):
        """Links to all other ranks, in their order."""
        server = _open[self._token][0]
        self._own.append(server)
        links, deadline = {}, time.monotonic() + TIMEOUT
        while len(links) < self._size - 1:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            link, _ = server.accept()
            try:
                rank = self._admit(link)
            except (OSError, ValueError):
                link.close()
                continue
            links[rank] = _tuned(self._keep(link))
        return [links[rank] for rank in sorted(links)]

    def _admit(self, link):
        """Rank of a peer that has proved itself; OSError or ValueError otherwise."""
        link.settimeout(_HANDSHAKE_TIMEOUT)
        challenge = secrets.token_bytes(_CHALLENGE_SIZE)
        link.sendall(challenge)
        answer = _receive(link, 4 + _CHALLENGE_SIZE + _PROOF_SIZE)
        claim, proof = answer[:-_PROOF_SIZE], answer[-_PROOF_SIZE:]
        if not hmac.compare_digest(proof, self._proof(b"peer", challenge + claim)):
            raise ValueError("A peer does not know the token.")
        link.sendall(self._proof(b"root", claim))
        (rank,) = struct.unpack("!I", claim[:4])
        return rank

    def _connect(self):
        """Link to rank 0, which has proved itself."""
        link = self._keep(socket.create_connection(self._address, TIMEOUT))
        challenge = _receive(link, _CHALLENGE_SIZE)
        claim = struct.pack("!I", self._rank) + secrets.token_bytes(_CHALLENGE_SIZE)
        link.sendall(claim + self._proof(b"peer", challenge + claim))
        proof = _receive(link, _PROOF_SIZE)
        if not hmac.compare_digest(proof, self._proof(b"root", claim)):
            raise ConnectionError("rank 0 does not know the token")
        return _tuned(link)

    def _proof(self, role, message):
        return hmac.digest(self._token, role + message, "sha256")


def _tuned(link):
    link.settimeout(TIMEOUT)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _receive(link, n_bytes):
    buffer = bytearray(n_bytes)
    _receive_into(link, buffer)
    return bytes(buffer)


def _receive_into(link, buffer):
    view = memoryview(buffer).cast("B")
    while len(view):
        n_bytes = link.recv_into(view)
        if n_bytes == 0:
            raise ConnectionError("the other end has closed")
        view = view[n_bytes:]
