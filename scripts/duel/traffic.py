#!/usr/bin/env python3
"""traffic.py CROWDS SESSIONS EVERY RATE NAME=PORT...: the same traffic for several servers at the same time.

A steady stream of RATE pages a second, each on a connection of its own, until all is over; and CROWDS crowds, one every EVERY seconds,
for one worker after the other: SESSIONS users log in, 500 a request, stay for a moment, and leave. A request that is
not answered with 200 is lost; nobody asks twice. Prints `begin UNIX-TIME`, a line a request: seconds, server, kind, status (0: none), and
at the end one `verified NAME COUNT` for each server: the sessions that its workers still have.
"""

import http.client
import itertools
import sys
import threading
import time

WORKERS, BATCH = 4, 500
CLIENTS = 16  # so many ask for pages in turn: a page takes 200 ms
crowds, sessions, every, rate = (int(a) for a in sys.argv[1:5])
servers = dict(a.split("=") for a in sys.argv[5:])
start = time.monotonic() + 0.5
print("begin %.2f" % (time.time() + 0.5), flush=True)
lines, all_gone = threading.Lock(), threading.Event()


def say(*words):
    with lines:
        print(*words, flush=True)


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)


def get(connection, path):
    """Status and body; status 0 if there was no answer."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, ""


def ask(name, connection, kind, path):
    """One request of the traffic, on a connection that opens itself again after a loss."""
    status, body = get(connection, path)
    say("%.2f" % (time.monotonic() - start), name, kind, status)
    return body


def wait_until(seconds):
    time.sleep(max(0, start + seconds - time.monotonic()))


def connect_to_worker(port, worker):
    """The kernel gives a connection to any worker: try until it is this one. A server that is down is given up."""
    for _ in range(400):
        connection = connect(port)
        if get(connection, "/worker")[1].strip() == str(worker):
            return connection
        connection.close()
    return connect(port)


def steady(name, port, first):
    for i in itertools.count(first, CLIENTS):
        wait_until(i / rate)
        if all_gone.is_set():
            return
        connection = connect(port)
        ask(name, connection, "page", "/page?id=%d" % (i * 7919 % 1000000))
        connection.close()


def come_and_go(name, port):
    for crowd in range(crowds):
        wait_until(1 + crowd * every)
        connection = connect_to_worker(port, crowd % WORKERS)
        first = 1 + crowd * sessions
        for batch in range(first, first + sessions, BATCH):
            ask(name, connection, "login", "/login?from=%d&count=%d" % (batch, BATCH))
        time.sleep(0.5)
        ask(name, connection, "expire", "/expire")
        connection.close()


threads, coming = [], []
for name, port in servers.items():
    for client in range(CLIENTS):
        threads.append(threading.Thread(target=steady, args=(name, port, client)))
    coming.append(threading.Thread(target=come_and_go, args=(name, port)))
for t in threads + coming:
    t.start()
for t in coming:
    t.join()
time.sleep(2)
all_gone.set()
for t in threads:
    t.join()
for name, port in servers.items():
    verified = 0
    for worker in range(WORKERS):
        connection = connect_to_worker(port, worker)
        body = get(connection, "/verify")[1].strip()
        verified += int(body) if body.isdigit() else -10 ** 9
        connection.close()
    say("verified", name, verified)
