#!/usr/bin/env python3
"""traffic.py PORT SEED RATE CROWD KINDS FILE [SECONDS]: a client of the soak's nginx, until SIGTERM or for SECONDS.

RATE requests a second are begun, whatever becomes of those before them; what they are follows from SEED alone, so that two
servers get the same. Half of them are on connections that are kept alive. CROWD sessions come every two seconds. KINDS is a
list with commas of what else the server can do; FILE is what /file has to answer. A line for each request: the time it
ended (CLOCK_MONOTONIC), its kind, and one of

    ok          the answer that was expected
    again       no request yet: a connection that had been kept alive was closed before a byte of the answer came, as
                servers may do at any time; asked once more on a new one, which has a line of its own
    refused     nobody listens, or 503: no thread is free
    unanswered  a new connection was closed without a byte of an answer
    cut         an answer came in part
    timeout     not in 60 s
    damaged     500: a handler has found something that is not what it was, or could not run
    wrong       any other answer
"""

import asyncio
import random
import signal
import sys
import time

ANSWERS = {"work": b"worked\n", "crowd": b"gone\n", "check": b"checked\n", "slow": b"begun\nfinished\n", "timer": b"fired\n",
           "thread": b"threaded\n", "pipe": b"from a pipe\n", "popen": b"from a shell\n", "vm": b"alone with 100\n"}
SHARES = {"work": 30, "check": 15, "slow": 25, "timer": 10, "thread": 3, "pipe": 3, "popen": 2, "vm": 3, "file": 10}
TIMEOUT = 60
KEPT = 4  # connections at most that wait for their next request: as many for a slow server as for a fast one

port, seed, rate, crowd = (int(a) for a in sys.argv[1:5])
kinds = [k for k in SHARES if k in sys.argv[5].split(",")]
with open(sys.argv[6], "rb") as f:
    ANSWERS["file"] = f.read()
seconds = float(sys.argv[7]) if len(sys.argv) > 7 else None
idle, chosen, stopped = [], random.Random(seed), asyncio.Event()


class Closed(Exception):
    """The connection ended; args[0]: had a byte of the answer come?"""


async def answer(reader):
    """Status, body, and whether the connection may be used again."""
    begun = False
    try:
        head = await reader.readuntil(b"\r\n")
        begun = True
        status = int(head.split()[1])
        fields = (await reader.readuntil(b"\r\n\r\n")).lower() if head else b""
        if b"transfer-encoding: chunked" in fields:
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            length = fields.split(b"content-length:")[1].split(b"\r\n")[0]
            body = await reader.readexactly(int(length))
        return status, body, b"connection: close" not in fields
    except asyncio.IncompleteReadError as e:
        raise Closed(begun or bool(e.partial)) from e
    except ConnectionError as e:
        raise Closed(begun) from e


async def ask_once(kind, request, keep):
    reused = keep and bool(idle)
    if reused:
        reader, writer = idle.pop()
    else:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        except ConnectionRefusedError:
            return "refused"
        except ConnectionError:
            return "unanswered"
    may_stay = False
    try:
        writer.write(request)
        status, body, may_stay = await answer(reader)
    except Closed as e:
        return "cut" if e.args[0] else "again" if reused else "unanswered"
    finally:
        if keep and may_stay and len(idle) < KEPT:
            idle.append((reader, writer))
        else:
            writer.close()
    if status == 500:
        print("%.3f" % time.monotonic(), kind, "said", body[:300], file=sys.stderr, flush=True)
        return "damaged"
    if status == 503:
        return "refused"
    return "ok" if status == 200 and body == ANSWERS[kind] else "wrong"


async def ask(kind, number, keep):
    query = "?count=%d" % crowd if kind == "crowd" else "?id=%d" % number
    head = "GET /%s%s HTTP/1.1\r\nHost: soak\r\n%s\r\n" % (kind, query, "" if keep else "Connection: close\r\n")
    outcome = "again"
    while outcome == "again":
        try:
            outcome = await asyncio.wait_for(ask_once(kind, head.encode(), keep), TIMEOUT)
        except asyncio.TimeoutError:
            outcome = "timeout"
        print("%.3f" % time.monotonic(), kind, outcome, flush=True)


async def main():
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    start, asked, number = loop.time(), set(), 0
    while not stopped.is_set() and (seconds is None or number < seconds * rate):
        number += 1
        if number % (2 * rate) == rate:
            kind, keep = "crowd", False
        else:
            kind, keep = chosen.choices(kinds, [SHARES[k] for k in kinds])[0], chosen.random() < 0.5
        task = asyncio.create_task(ask(kind, number, keep))
        asked.add(task)
        task.add_done_callback(asked.discard)
        try:
            await asyncio.wait_for(stopped.wait(), max(0, start + number / rate - loop.time()))
        except asyncio.TimeoutError:
            pass
    if asked:
        await asyncio.wait(asked)
    for _, writer in idle:
        writer.close()


asyncio.run(main())
