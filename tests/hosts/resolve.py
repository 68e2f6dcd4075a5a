# resolve.py PORT NAME: asks a DNS server on this machine for the name's address; prints the return code and the addresses.
import os, socket, struct, sys

port, name = int(sys.argv[1]), sys.argv[2]
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack(">HH", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(30)
    s.sendto(os.urandom(2) + struct.pack(">HHHHH", 0x100, 1, 0, 0, 0) + question, ("127.0.0.1", port))
    answer = s.recv(4096)
flags, _, count = struct.unpack(">HHH", answer[2:8])
at, addresses = 12 + len(question), []
for _ in range(count):
    while answer[at] != 0 and answer[at] < 192:
        at += 1 + answer[at]
    at += 2 if answer[at] >= 192 else 1
    kind, length = struct.unpack(">HxxxxxxH", answer[at : at + 10])
    at += 10
    if kind == 1:
        addresses.append(socket.inet_ntoa(answer[at : at + 4]))
    at += length
print("rcode", flags & 15, *sorted(addresses))
