"""One host's programs: threads that do everything to a few znodes, and note what they asked for and what they were told.

worker.py NOTES STOP SEED HOST ROOT WORKER...    ROOT is a mount, or for the client without a mount its connect string.

A line `B time kind path mark extra` stands before each operation in NOTES/HOST.WORKER.PID, a line `E errno result` after it.
A write's mark is in no other write: what is in the tree tells who wrote it.
"""
import ctypes, errno, os, random, sys, threading, time

notes, stop, seed, host, root = sys.argv[1:6]
FILES = ["/a/f", "/b/f", "/c/f"]
libc = ctypes.CDLL(None, use_errno=True)


class Notes:
    def __init__(self, worker):
        self.worker, self.number = int(worker), 0
        self.file = os.open(f"{notes}/{host}.{worker}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        # A worker that was killed has a successor, whose marks are others.
        self.first = 1000000 * (sum(name.startswith(f"{host}.{worker}.") for name in os.listdir(notes)) - 1)

    def mark(self):
        self.number += 1
        return f"{self.worker:02}.{self.first + self.number:08}"

    def __call__(self, kind, path, action, mark="-", extra="-"):
        """Does it; gives its result, or none when it failed."""
        os.write(self.file, f"B {time.monotonic_ns()} {kind} {path} {mark} {extra}\n".encode())
        told, result = 0, None
        try:
            result = action()
        except OSError as error:
            told = error.errno
        text = result if isinstance(result, str) else "-"
        os.write(self.file, f"E {time.monotonic_ns()} {told} {text or '-'}\n".encode())
        return result if told == 0 else None


def opened(path, flags, action):
    fd = os.open(root + path, flags)
    try:
        return action(fd)
    finally:
        os.close(fd)


def read(path):
    def whole(fd):
        data = b""
        while piece := os.read(fd, 1 << 20):
            data += piece
        return data
    return opened(path, os.O_RDONLY, whole)


def contents(path):
    return read(path).decode().replace("\n", ",").rstrip(",")


def stat(path):
    fields = dict(line.split("=", 1) for line in read(path + "@stat").decode().splitlines())
    return ",".join(str(int(fields[name], 0)) for name in ("czxid", "mzxid", "version", "ephemeralOwner", "dataLength"))


def size(path):
    found = os.stat(root + path)
    # The kernel may ask for the file that a name stood for a moment ago: one that is gone, and open yet.
    if found.st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, path)
    return f"{found.st_size},{'d' if found.st_mode & 0o040000 else 'f'}"


def names(path):
    return ",".join(sorted(os.listdir(root + path)))


def write(note, kind, path, flags, extra="-", at=None):
    mark = note.mark()
    def action():
        data = f"{mark}\n".encode()
        place = at or path
        opened(place, os.O_WRONLY | flags, lambda fd: os.pwrite(fd, data, 0) if kind == "first" else os.write(fd, data))
    return note(kind, path, action, mark, extra)


def make(note, path, flags, kind, suffix=""):
    """Creates, and writes through the same descriptor, which are two operations."""
    fd = []
    note(kind, path, lambda: fd.append(os.open(root + path + suffix, os.O_WRONLY | os.O_CREAT | flags)))
    if fd:
        mark = note.mark()
        note("replace", path, lambda: os.write(fd[0], f"{mark}\n".encode()) and None, mark)
        os.close(fd[0])


def source(note):
    """A file of one's own, with a mark in it."""
    mark = note.mark()
    path = f"/t/{mark}"
    def action():
        opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, lambda fd: os.write(fd, f"{mark}\n".encode()))
        return "made"
    return (path, mark) if note("source", path, action, mark) else None


def move(note, path, suffix=""):
    if made := source(note):
        note("move", path, lambda: os.rename(root + made[0], root + path + suffix), made[1], made[0])
        note("unlink", made[0], lambda: os.unlink(root + made[0]))


def noreplace(note, path):
    def action():
        if libc.renameat2(-100, (root + made[0]).encode(), -100, (root + path).encode(), 1) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")
    if made := source(note):
        note("link", path, action, made[1], made[0])
        note("unlink", made[0], lambda: os.unlink(root + made[0]))


def link(note, path, suffix=""):
    if made := source(note):
        note("link", path, lambda: os.link(root + made[0], root + path + suffix), made[1], made[0])
        note("unlink", made[0], lambda: os.unlink(root + made[0]))


def away(note, path):
    to = f"/t/out.{note.mark()}"
    if note("away", path, lambda: os.rename(root + path, root + to) or "gone", "-", to):
        note("read", to, lambda: contents(to))
        note("unlink", to, lambda: os.unlink(root + to))


def guarded(note, path):
    found = note("stat", path, lambda: stat(path))
    if found:
        version = found.split(",")[2]
        write(note, "guarded", path, os.O_TRUNC, version, f"{path}@v={version}")


def take(note):
    listed = note("list", "/q", lambda: names("/q"))
    if listed:
        item = "/q/" + listed.split(",")[0]
        note("read", item, lambda: contents(item))
        note("unlink", item, lambda: os.unlink(root + item))


def one(note, chance):
    path = chance.choice(FILES)
    lock = chance.choice(["/e/x", "/e/y"])
    any_path = chance.choice(FILES + ["/e/x"])
    weighted = [
        (20, lambda: note("read", any_path, lambda: contents(any_path))),
        (8, lambda: note("stat", any_path, lambda: stat(any_path))),
        (6, lambda: note("size", any_path, lambda: size(any_path))),
        (4, lambda: (lambda dir: note("list", dir, lambda: names(dir)))(chance.choice(["/q", "/e", "/a", "/d"]))),
        (8, lambda: write(note, "replace", path, os.O_TRUNC)),
        (7, lambda: write(note, "first", path, 0)),
        (6, lambda: guarded(note, path)),
        (12, lambda: write(note, "append", path, os.O_APPEND)),
        (5, lambda: make(note, path, os.O_EXCL, "create")),
        (3, lambda: make(note, path, os.O_TRUNC, "open")),
        (4, lambda: note("unlink", path, lambda: os.unlink(root + path))),
        (4, lambda: move(note, path)),
        (2, lambda: noreplace(note, path)),
        (3, lambda: away(note, path)),
        (3, lambda: link(note, path)),
        (3, lambda: note("mkdir", "/d/m", lambda: os.mkdir(root + "/d/m"))),
        (3, lambda: note("rmdir", "/d/m", lambda: os.rmdir(root + "/d/m"))),
        (3, lambda: make(note, lock, os.O_EXCL, "create", "@e")),
        (2, lambda: link(note, lock, "@e")),
        (1, lambda: move(note, lock, "@e")),
        (3, lambda: note("unlink", lock, lambda: os.unlink(root + lock))),
        (4, lambda: write(note, "sequential", "/q/i-", os.O_CREAT, "-", "/q/i-@s")),
        (2, lambda: write(note, "sequential", "/q/i-", os.O_CREAT, "-", "/q/i-@es")),
        (5, lambda: take(note)),
    ]
    chance.choices([action for _, action in weighted], [weight for weight, _ in weighted])[0]()


def foreign(note, chance, zk):
    """The same from a client that knows nothing of mounts: sets, creates and deletes."""
    from kazoo.exceptions import BadVersionError, NoNodeError, NodeExistsError
    def told(action):
        try:
            action()
        except BadVersionError:
            raise OSError(errno.ESTALE, "") from None
        except NoNodeError:
            raise OSError(errno.ENOENT, "") from None
        except NodeExistsError:
            raise OSError(errno.EEXIST, "") from None
        except Exception:
            raise OSError(errno.EIO, "") from None
    def version():
        versions.append(zk.get(path)[1].version)
    path, mark, versions = chance.choice(FILES), note.mark(), []
    data = f"{mark}\n".encode()
    kind = chance.randrange(8)
    if kind < 3:
        note("replace", path, lambda: told(lambda: zk.set(path, data)), mark)
    elif kind < 5:
        note("put", path, lambda: told(lambda: zk.create(path, data)), mark)
    elif kind < 7:
        note("look", path, lambda: told(version))
        if versions:
            extra = str(versions[0])
            note("guarded", path, lambda: told(lambda: zk.set(path, data, versions[0])), mark, extra)
    else:
        note("unlink", path, lambda: told(lambda: zk.delete(path)))


def work(worker):
    note, chance = Notes(worker), random.Random(f"{seed} {host} {worker} {os.getpid()}")
    while not os.path.exists(stop):
        if zk:
            foreign(note, chance, zk)
            time.sleep(chance.random() / 10)
        else:
            one(note, chance)
            time.sleep(chance.random() / 50)


zk = None
if "," in root:
    import logging
    from kazoo.client import KazooClient
    logging.disable(logging.CRITICAL)
    zk = KazooClient(hosts=root, timeout=6.0, connection_retry={"max_tries": -1, "max_delay": 0.5})
    while not os.path.exists(stop):
        try:
            zk.start(timeout=10)
            break
        except Exception:
            time.sleep(0.1)
threads = [threading.Thread(target=work, args=(worker,)) for worker in sys.argv[6:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
