"""Carries Ethernet frames between two network interfaces, both ways, each frame so many milliseconds late.

Usage: delay.py INTERFACE INTERFACE MILLISECONDS. Ends when it is killed. Frames beyond QUEUE_MAX are dropped, as by a
switch.
"""

import collections
import select
import socket
import sys
import time

EVERY_PROTOCOL = 0x0003
OUTGOING = socket.PACKET_OUTGOING
QUEUE_MAX = 10_000
FRAME_SIZE_MAX = 65_536


def listen(interface):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def main():
    first, second, late = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000
    ends = [listen(first), listen(second)]
    towards = {ends[0]: ends[1], ends[1]: ends[0]}
    queue = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        for end in select.select(ends, [], [], wait)[0]:
            frame, (_, _, kind, _, _) = end.recvfrom(FRAME_SIZE_MAX)
            if kind != OUTGOING and len(queue) < QUEUE_MAX:
                queue.append((time.monotonic() + late, towards[end], frame))
        while queue and queue[0][0] <= time.monotonic():
            _, end, frame = queue.popleft()
            try:
                end.send(frame)
            except OSError as error:
                print(f"{len(frame)} bytes dropped: {error}", flush=True)


main()
