"""nginx and Caddy with the files of deploy/, on free ports, before a Site."""

import http.client
import os
import shutil
import ssl
import subprocess
from pathlib import Path

from tests.client import SECONDS, Person, Response
from tests.servers import ROOT, SECONDS_TO_START, Site, end, free_port, wait_for

UNPACKED = ROOT / ".tools" / "debian"
PLACES = [os.environ["PATH"], "/usr/sbin", str(UNPACKED / "usr/sbin"), str(UNPACKED / "usr/bin")]


def program(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join(PLACES))
    assert path, f"{name} is not installed: bin/setup-proxies"
    return path


class Proxy:
    """One of them, with TLS by the certificate in a PEM file, before the first `processes` servers.

    Only what is one site's own is changed in the file: name, addresses, certificate, folder.
    """

    def __init__(self, kind: str, site: Site, certificate: Path, folder: Path) -> None:
        self.kind = kind
        self.port, self.plain = free_port(), free_port()
        self.origin = f"https://127.0.0.1:{self.port}"
        self.certificate = certificate
        self.site = site
        self.log = folder / "log"
        (folder / "pair.pem").write_bytes(certificate.read_bytes())
        command = self._nginx(folder) if kind == "nginx" else self._caddy(folder)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            )  # fmt: skip
        wait_for(lambda: self.status("/healthz") == 200, self.log.read_text, SECONDS_TO_START)

    def _nginx(self, folder: Path) -> list[str]:
        certificate = "/etc/letsencrypt/live/video.example"
        text = changed(
            (ROOT / "deploy" / "nginx.conf").read_text(),
            {
                "    listen [::]:80;\n": "",
                "    listen [::]:443 ssl http2;\n": "",
                "listen 80;": f"listen 127.0.0.1:{self.plain};",
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                f"{certificate}/fullchain.pem": f"{folder}/pair.pem",
                f"{certificate}/privkey.pem": f"{folder}/pair.pem",
                "video.example": "127.0.0.1",
                "/var/lib/streamsite": self.site.variables["DATA_DIR"],
                **{
                    f"127.0.0.1:{8101 + number}": f"127.0.0.1:{server.port}"
                    for number, server in enumerate(self.site.servers)
                },
            },
        )
        types = Path("/etc/nginx/mime.types")
        types = types if types.exists() else UNPACKED / "etc/nginx/mime.types"
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "main.conf").write_text(
            # Tests' folders are closed to others, and so to the user that nginx turns into.
            ("user root;" if os.geteuid() == 0 else "")
            + f"daemon off; pid {folder}/pid; error_log stderr; events {{ }}"
            + f"http {{ include {types}; access_log off; {temporary} include {folder}/site.conf; }}"
        )
        (folder / "site.conf").write_text(text)
        return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", f"{folder}/main.conf"]

    def _caddy(self, folder: Path) -> list[str]:
        text = changed(
            (ROOT / "deploy" / "Caddyfile").read_text(),
            {
                "{$STREAMSITE_HOST:video.example}": self.origin,
                "{$STREAMSITE_DATA:/var/lib/streamsite}": self.site.variables["DATA_DIR"],
                "{$STREAMSITE_PROCESSES:127.0.0.1:8101 127.0.0.1:8102}": " ".join(
                    f"127.0.0.1:{server.port}" for server in self.site.servers
                ),
                "# tls /etc/streamsite/fullchain.pem /etc/streamsite/privkey.pem": (
                    f"tls {folder}/pair.pem {folder}/pair.pem"
                ),
            },
        )
        ports = f"{{\nadmin off\nhttp_port {self.plain}\nhttps_port {self.port}\n}}\n"
        (folder / "Caddyfile").write_text(ports + text)
        words = ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
        return [program("caddy"), *words]

    def connect(self, source: str = "127.0.0.1") -> http.client.HTTPSConnection:
        """A connection that comes from this address of the machine."""
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=SECONDS, source_address=(source, 0),
            context=ssl._create_unverified_context(),  # noqa: S323
        )  # fmt: skip

    def status(self, path: str) -> int | None:
        assert self.process.poll() is None, self.log.read_text()
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        end(self.process)


def changed(text: str, replacements: dict[str, str]) -> str:
    """The text with each of these in another's place; each must be there."""
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Through(Person):
    """Somebody who comes by https through a proxy; `address` is only what they say."""

    def __init__(self, proxy: Proxy, *, source: str = "127.0.0.1", address: str = "") -> None:
        super().__init__(proxy.site, address=address or "10.99.0.1")
        self.proxy, self.source = proxy, source

    def connection(self) -> http.client.HTTPConnection:
        return self.proxy.connect(self.source)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Response:
        return super().request(method, path, body, **({"Origin": self.proxy.origin} | headers))
