"""server: an nginx of the soak, what it is made of, and what /proc tells of it. Not a program."""

import collections
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

ROOT = os.path.realpath(os.path.dirname(__file__) + "/../..")
BUILD = os.path.realpath(os.environ.get("BUILD") or ROOT + "/build")
LIBRARY = os.environ.get("LJT_SO", BUILD + "/libljtrim.so")  # empty: neither server has it
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
PATIENCE = 120  # seconds for what nginx has to do at some time


def modules():
    """Where nginx keeps its modules; None if there is no nginx that has Lua's."""
    told = NGINX and subprocess.run([NGINX, "-V"], capture_output=True, text=True).stderr
    found = told and re.search(r"--modules-path=(\S+)", told)
    return found[1] if found and os.path.exists(found[1] + "/ngx_http_lua_module.so") else None


# ---- What /proc tells ----

def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def is_running(pid):
    """As long as one thread is left, also after the first: until then its children are still its children."""
    status = read("/proc/%d/stat" % pid)
    return bool(status) and (status.rsplit(")", 1)[1].split()[0] not in "ZX" or listed("/proc/%d/task" % pid) > 1)


def children_of(pid):
    """Those that run. Between fork and exec, and at their end, children of children may be missed: ask again."""
    return [int(p) for t in glob.glob("/proc/%d/task/*/children" % pid) for p in read(t).split() if is_running(int(p))]


def listed(path):
    try:
        return len(os.listdir(path))
    except OSError:
        return 0


def holds(pid, path):
    """Has the process this file open, under the name that it has now?"""
    for fd in glob.glob("/proc/%d/fd/*" % pid):
        try:
            if os.readlink(fd) == path:
                return True
        except OSError:
            pass
    return False


def size_of(pid):
    rss = re.search(r"VmRSS:\s+(\d+)", read("/proc/%d/status" % pid))
    return {"threads": listed("/proc/%d/task" % pid), "fds": listed("/proc/%d/fd" % pid),
            "mappings": read("/proc/%d/maps" % pid).count("\n"), "rss": int(rss[1]) if rss else 0}


def outside_lua(pid):
    """KiB of its memory that are neither in Lua's heaps and large blocks nor a file's: where a leak of the library is. None
    where `ljtrim inspect` may not look. What the kernel keeps mapped of files, its own business, is 2 MB more after an exec."""
    for _ in range(10):
        told = subprocess.run([BUILD + "/ljtrim", "inspect", str(pid), "--json", "--max-stop", "0"], capture_output=True, text=True)
        if told.returncode == 4:
            return None
        if told.returncode == 0:
            held = {k: v["rss"] for k, v in json.loads(told.stdout)["holders"].items()}
            return (held["all"] - held["luajit_arenas"] - held["luajit_large_blocks"] - held["files"]) >> 10
    raise Trouble("process %d can't be inspected: %s" % (pid, told.stderr.strip() or "its heaps are never at rest"))


def wait_until(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise Trouble("%s: not in %d s" % (what, seconds))
        time.sleep(0.02)
    return result


class Trouble(Exception):
    """The storm could not go on."""


# ---- A server ----

class Server:
    def __init__(self, name, directory, root="", settings=None):
        self.name, self.dir, self.root, self.settings, self.seen = name, directory, root, settings or {}, set()
        self.port = free_port()
        os.makedirs(self.path("temp"))
        os.makedirs(self.path("lua"))
        for path in (ROOT + "/tests/system/lua/workload.lua", ROOT + "/tests/soak/soak.lua", ROOT + "/tests/soak/in_thread.lua"):
            shutil.copy(path, self.path("lua"))
        with open(self.path("file"), "wb") as f:
            f.write(b"".join(b"line %d of what aio reads\n" % i for i in range(10000)))
        group = " nogroup" if "\nnogroup:" in read("/etc/group") else ""
        user = "user nobody%s;" % group if os.getuid() == 0 else ""
        conf = read(ROOT + "/tests/soak/nginx.conf.in")
        for word, value in (("modules", modules()), ("dir", self.dir), ("port", str(self.port)), ("user", user)):
            conf = conf.replace("@%s@" % word, value)
        with open(self.path("nginx.conf"), "w") as f:
            f.write(conf)
        self.start()

    def path(self, name):
        return self.root + self.dir + "/" + name

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LJTRIM_", "LD_PRELOAD", "LUA_", "NGINX"))}
        if self.name == "preloaded":
            env.update(self.settings, LD_PRELOAD=LIBRARY)
        root = self.root
        with open(self.path("stderr"), "a") as err:
            done = subprocess.run([NGINX, "-p", self.dir, "-e", self.dir + "/error.log", "-c", self.dir + "/nginx.conf"], env=env,
                                  stdin=subprocess.DEVNULL, stdout=err, stderr=err, cwd="/",
                                  preexec_fn=(lambda: os.chroot(root)) if root else None)
        if done.returncode != 0:
            raise Trouble("%s nginx did not start: %s" % (self.name, read(self.path("stderr"))[-300:]))
        wait_until("the %s nginx answers" % self.name, lambda: self.get("work") == "worked\n" and self.pid("nginx.pid"))
        self.master = self.pid("nginx.pid")
        self.seen.add(self.master)
        if self.name == "preloaded" and os.path.basename(LIBRARY) not in read("/proc/%d/maps" % self.master):
            raise Trouble("the library is not in the preloaded nginx")

    def get(self, what):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/%s" % (self.port, what), timeout=PATIENCE) as answer:
                return answer.read().decode()
        except (OSError, ValueError):
            return ""

    def pid(self, name):
        text = read(self.path(name)).strip()
        return int(text) if text.isdigit() and is_running(int(text)) else 0

    def workers(self):
        """The workers of this master that serve: not what Lua has started, not workers that are leaving."""
        pids = [p for p in children_of(self.master) if read("/proc/%d/cmdline" % p).rstrip("\0 ") == "nginx: worker process"]
        self.seen.update(pids)
        return sorted(pids)

    def leaving(self):
        return [p for p in children_of(self.master) if "shutting down" in read("/proc/%d/cmdline" % p)]

    def wait_settled(self):
        wait_until("two workers of the %s nginx" % self.name, lambda: len(self.workers()) == 2 and len(children_of(self.master)) == 2)

    def census(self):
        """What master and workers hold: at rest, when it has been the same for half a second."""
        before, end = None, time.monotonic() + 15
        while True:
            self.wait_settled()
            now = {"master": size_of(self.master), "workers": collections.Counter()}
            for p in self.workers():
                now["workers"].update(size_of(p))
            counted = [(k, w[k]) for w in now.values() for k in ("threads", "fds")]
            if counted == before or time.monotonic() > end:
                return now
            before = counted
            time.sleep(0.5)

    def weigh(self, census):
        """Adds to a census what of the memory is outside of Lua."""
        census["master"]["outside"] = outside_lua(self.master)
        census["workers"]["outside"] = sum(outside_lua(p) for p in self.workers())

    def purged(self):
        """Bytes that the library has given back in these processes, as it says itself."""
        total = 0
        for p in [self.master] + self.workers():
            told = subprocess.run([BUILD + "/ljtrim", "stats", str(p), "--json"], capture_output=True, text=True).stdout
            match = re.search(r'"purged": ?(\d+)', told)
            total += int(match[1]) if match else 0
        return total

    def quit(self):
        os.kill(self.master, signal.SIGQUIT)
        wait_until("the %s nginx quits" % self.name, lambda: not is_running(self.master))

    def kill(self):
        """For the end of a run that has failed. Masters are stopped first, so that they start no others meanwhile."""
        self.seen.update(p for name in ("nginx.pid", "nginx.pid.oldbin") if (p := self.pid(name)))
        ours = [p for p in self.seen if "nginx" in read("/proc/%d/cmdline" % p)]
        for p in ours:
            os.kill(p, signal.SIGSTOP)
        for p in set(ours).union(*(children_of(p) for p in ours)):
            os.kill(p, signal.SIGKILL)

    def log_lines(self):
        for path in sorted(glob.glob(self.path("error.log*"))) + [self.path("stderr")]:
            yield from read(path).splitlines()


def free_port():
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


# ---- A root of its own for the phase chroot ----

def copy_root(root):
    """nginx, its modules, Lua files, the library and what they need, at the paths that they have outside."""
    files = {NGINX, LIBRARY} - {""} | set(glob.glob(modules() + "/n*_http_*.so"))
    for f in list(files):
        told = subprocess.run(["ldd", f], capture_output=True, text=True).stdout
        files.update(re.findall(r"(/\S+) \(0x", told))
    files.update(p for d in ("/usr/share/lua/5.1/resty", "/usr/share/lua/5.1/ngx") for p in glob.glob(d + "/**/*.lua", recursive=True))
    files.update(f for f in ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/bin/sh", "/usr/lib/ssl/openssl.cnf") if os.path.exists(f))
    told = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True).stdout
    files.update(re.findall(r"(/\S+) \(0x", told))
    for f in files:
        os.makedirs(root + os.path.dirname(f), exist_ok=True)
        shutil.copy(f, root + f)
    os.makedirs(root + "/dev", exist_ok=True)
    try:
        os.mknod(root + "/dev/null", 0o20666, os.makedev(1, 3))
        os.chmod(root + "/dev/null", 0o666)
        open(root + "/dev/null", "w").close()
    except OSError:  # no devices here: an empty file does for a daemon's standard input
        if os.path.exists(root + "/dev/null"):
            os.unlink(root + "/dev/null")
        open(root + "/dev/null", "w").close()
        os.chmod(root + "/dev/null", 0o666)


def can_chroot(directory):
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(directory)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
