"""The two sides of the conversation that talk.rs describes, as applications of zenoh."""

import json
import struct
import sys
import time

import zenoh

COUNTED_EVERY = 1024
IN_FLIGHT_MAX = 16 * COUNTED_EVERY
WARM_UP_ROUND_TRIPS = 500
ROUND_TRIPS_MAX = 10_000
ROUND_TRIPS_NS = 3_000_000_000
WARM_UP_NS = 500_000_000
COUNTED_NS = 2_500_000_000
GREETING_S = 0.1
GREETINGS_MAX = 150
ECHO, COUNT, COUNTED = b"ecd"


def message(kind, number, elapsed_ns=0):
    return struct.pack("<B7xQQ40x", kind, number, elapsed_ns)


def parsed(sample):
    return struct.unpack("<B7xQQ40x", sample.payload.to_bytes())


def open_session(role, endpoint, authority, certificate, key):
    config = zenoh.Config()
    tls = {
        "root_ca_certificate": authority,
        "listen_certificate": certificate,
        "listen_private_key": key,
        "connect_certificate": certificate,
        "connect_private_key": key,
        "enable_mtls": True,
    }
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("transport/link/tls", json.dumps(tls))
    config.insert_json5("listen/endpoints", json.dumps([endpoint] if role == "far" else []))
    config.insert_json5("connect/endpoints", json.dumps([endpoint] if role == "near" else []))
    return zenoh.open(config)


def publishers(session, key):
    """One that sends at once, one that may batch; neither drops anything."""
    block = zenoh.CongestionControl.BLOCK
    return (
        session.declare_publisher(key, congestion_control=block, express=True),
        session.declare_publisher(key, congestion_control=block),
    )


class Far:
    def __init__(self, session):
        self.express, _ = publishers(session, "bench/near")
        self.count = 0
        self.first_ns = 0
        self.subscriber = session.declare_subscriber("bench/far", self.answer)

    def answer(self, sample):
        kind, _, _ = parsed(sample)
        if kind == ECHO:
            self.express.put(sample.payload)
            return
        if self.count == 0:
            self.first_ns = time.monotonic_ns()
        self.count += 1
        if self.count % COUNTED_EVERY == 0:
            self.express.put(message(COUNTED, self.count, time.monotonic_ns() - self.first_ns))


class Near:
    def __init__(self, session):
        self.express, self.batching = publishers(session, "bench/far")
        self.subscriber = session.declare_subscriber("bench/near", zenoh.handlers.FifoChannel(1024))
        self.number = 0

    def greet(self):
        """Sends until something comes back, since the far side may not have subscribed yet."""
        for _ in range(GREETINGS_MAX):
            self.express.put(message(ECHO, self.number))
            self.number += 1
            time.sleep(GREETING_S)
            if self.subscriber.try_recv() is not None:
                return
        sys.exit("the far side did not answer")

    def round_trip(self):
        start = time.perf_counter_ns()
        self.express.put(message(ECHO, self.number))
        while parsed(self.subscriber.recv())[1] != self.number:
            pass
        self.number += 1
        return time.perf_counter_ns() - start

    def round_trips(self, count):
        taken, end = [], time.monotonic_ns() + ROUND_TRIPS_NS
        while len(taken) < count and time.monotonic_ns() < end:
            taken.append(self.round_trip())
        return taken

    def pour(self):
        warm = time.monotonic_ns() + WARM_UP_NS
        number, counted, start = 0, 0, None
        while True:
            while number < counted + IN_FLIGHT_MAX:
                self.batching.put(message(COUNT, number))
                number += 1
            _, counted, elapsed_ns = parsed(self.subscriber.recv())
            if start is None and time.monotonic_ns() > warm:
                start = (counted, elapsed_ns)
            elif start is not None and elapsed_ns - start[1] > COUNTED_NS:
                return counted - start[0], elapsed_ns - start[1]


def main():
    role, endpoint, authority, certificate, key = sys.argv[1:]
    session = open_session(role, endpoint, authority, certificate, key)
    if role == "far":
        far = Far(session)
        time.sleep(60)
        sys.exit(f"nobody ended this side, which counted {far.count}")
    near = Near(session)
    near.greet()
    near.round_trips(WARM_UP_ROUND_TRIPS)
    round_trips_ns = near.round_trips(ROUND_TRIPS_MAX)
    received, elapsed_ns = near.pour()
    print(json.dumps({"round_trips_ns": round_trips_ns, "received": received, "elapsed_ns": elapsed_ns}))


main()
