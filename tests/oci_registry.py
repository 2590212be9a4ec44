"""A registry on loopback that holds one image: what the OCI distribution specification asks for pulls."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Image:
    """An image of one layer, that of the file `archive`."""

    def __init__(self, layer: bytes) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh", "-c", "echo pulled"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
        text = json.dumps(config).encode()
        parts = [(CONFIG, text), (LAYER, layer)]
        described = [
            {"mediaType": kind, "digest": digest_of(content), "size": len(content)} for kind, content in parts
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        self.manifest = json.dumps(manifest).encode()
        self.digest = digest_of(self.manifest)
        self.contents = {digest_of(content): content for content in (text, layer, self.manifest)}


@contextmanager
def registry_of(image: Image) -> Iterator[str]:
    """Serve the image under any name; HOST:PORT of the registry."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            digest = self.path.rpartition("/")[2]
            content = b"{}" if self.path == "/v2/" else image.contents.get(digest)
            self.send_response(404 if content is None else 200)
            kind = MANIFEST if digest == image.digest else "application/octet-stream"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def layer_of(archive: str) -> bytes:
    """The content of a tar file, as a layer."""
    with tarfile.open(archive) as checked:
        assert checked.getnames()
    with io.FileIO(archive) as file:
        return file.readall()
