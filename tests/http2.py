"""A server that speaks HTTP/2, keeps books of what it took, and misbehaves as it is told."""

import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from servers import INSERTED, RawServer, Wire

from nontax.sandbox.certificates import Certificates

# What a request is answered with: a function of the conversation and the stream's id.
Behaviour = Callable[["Conversation", int], None]


# By outcome: how often the server may have taken such a bill.
TIMES_TAKEN = {"inserted": (1,), "rejected": (0,), "not_sent": (0,), "in_doubt": (0, 1)}


class Conversation:
    """One connection. taken: the order_ids of whole requests that were answered or swallowed."""

    def __init__(self, wire: Wire, server: "Http2Server") -> None:
        self.wire = wire
        self.server = server
        self.bodies: dict[int, bytes] = {}
        config = h2.config.H2Configuration(client_side=False)
        self.state = h2.connection.H2Connection(config)

    def flush(self) -> None:
        self.wire.send(self.state.data_to_send())

    def answer(self, stream: int, body: bytes = INSERTED) -> None:
        headers = [(":status", "200"), ("content-type", "application/json")]
        self.state.send_headers(stream, headers)
        self.state.send_data(stream, body, end_stream=True)

    def run(self) -> None:
        limit = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams}
        self.state.local_settings = h2.settings.Settings(client=False, initial_values=limit)
        self.state.initiate_connection()
        self.flush()
        while True:
            data = self.wire.socket.recv(65536)
            if not data:
                raise EOFError
            for event in self.state.receive_data(data):
                self._meet(event)
            self.flush()

    def _meet(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            assert event.stream_id is not None
            self.bodies[event.stream_id] = b""
            self.server.begun += 1
            self.server.at_head(self, event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            assert event.stream_id is not None
            assert event.data is not None
            self.bodies[event.stream_id] += event.data
            self.state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            assert event.stream_id is not None
            self.server.at_end(self, event.stream_id)

    def take(self, stream: int) -> str:
        """Note the bill of a whole request; its order_id."""
        order_id = json.loads(self.bodies[stream])["order_id"]
        with self.server.lock:
            self.server.taken[order_id] += 1
        assert isinstance(order_id, str)
        return order_id


def nothing(_conversation: Conversation, _stream: int) -> None:
    """Wait for the rest."""


def take_and_answer(conversation: Conversation, stream: int) -> None:
    conversation.take(stream)
    conversation.answer(stream)


class Http2Server:
    """at_head, at_end: what happens when a request's head, and its last byte, have arrived.

    max_streams: what it allows at once on a connection.
    """

    def __init__(
        self,
        certificates: Certificates,
        at_end: Behaviour = take_and_answer,
        at_head: Behaviour = nothing,
        max_streams: int = 100,
    ) -> None:
        self.max_streams = max_streams
        self.ca_file = certificates.ca_file
        self.at_head = at_head
        self.at_end = at_end
        self.begun = 0
        self.taken: Counter[str] = Counter()
        self.lock = threading.Lock()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert_file, certificates.key_file)
        context.set_alpn_protocols(["h2"])
        self._server = RawServer(self._serve, context)
        self.base_url = self._server.base_url

    def _serve(self, wire: Wire) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            Conversation(wire, self).run()

    @property
    def connections(self) -> int:
        """How many there were."""
        return self._server.accepted

    def __enter__(self) -> "Http2Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
