"""A small Google Cloud Storage in memory: the calls of its JSON API that the libraries make."""

import contextlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)(?:/(rewriteTo|moveTo)/(.+))?")
_LIST = re.compile(r"/(?:upload/)?storage/v1/b/([^/]+)/o/?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")


class Store(ThreadingHTTPServer):
    """Serves one bucket, ``gs://bucket``; ``objects`` is what it holds, bytes by name."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.times: dict[str, str] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.lock = threading.RLock()
        self.count = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self):
        """What leads gcsfs, google-cloud-storage and TensorStore here, with no account."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks Google itself
        }

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that waits no longer
            super().handle_error(request, client_address)

    def put(self, name, data):
        with self.lock:
            self.count += 1
            self.objects[name], self.generations[name] = bytes(data), self.count
            self.times[name] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        return self.describe(name)

    def put_folder(self, folder, name):
        """Copies a folder of this machine into the bucket."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder)}", path.read_bytes())

    def remove(self, name):
        with self.lock:
            del self.objects[name], self.generations[name], self.times[name]

    def names(self, prefix=""):
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def describe(self, name):
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": BUCKET,
            "size": str(len(self.objects[name])),
            "generation": str(self.generations[name]),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "timeCreated": self.times[name],
            "updated": self.times[name],
        }


@contextlib.contextmanager
def served():
    """Runs a store for as long as the context lasts."""
    store = Store()
    thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield store
    finally:
        store.shutdown()
        thread.join()
        store.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format, *args):
        pass

    def _handle(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self._body()
        with self.server.lock:
            if upload := query.get("upload_id"):
                return self._chunk(upload, body)
            if match := _OBJECT.fullmatch(parts.path):
                bucket, name, verb, target = match.groups()
                if bucket != BUCKET:
                    return self._send(404, {"error": {"code": 404, "message": "no such bucket"}})
                return self._object(unquote(name), verb, target, query)
            if match := _LIST.fullmatch(parts.path):
                if match[1] != BUCKET:
                    return self._send(404, {"error": {"code": 404, "message": "no such bucket"}})
                if self.command == "POST":
                    return self._upload(query, body)
                return self._list(query)
            if (match := _BUCKET.fullmatch(parts.path)) and match[1] == BUCKET:
                return self._send(200, {"kind": "storage#bucket", "name": BUCKET, "id": BUCKET})
        return self._send(404, {"error": {"code": 404, "message": f"not found: {self.path}"}})

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, code, content=b"", headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _object(self, name, verb, target, query):
        store = self.server
        held = store.generations.get(name, 0)
        if held == 0 and query.get("ifGenerationMatch") != "0":
            return self._send(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
        if int(query.get("ifGenerationMatch", held)) != held:
            return self._send(412, {"error": {"code": 412, "message": "another generation"}})
        if int(query.get("ifGenerationNotMatch", -1)) == held:
            return self._send(304)
        if verb:
            new = unquote(target.partition("o/")[2] if verb == "moveTo" else target.split("/o/")[1])
            description = store.put(new, store.objects[name])
            if verb == "moveTo":
                store.remove(name)
                return self._send(200, description)
            return self._send(200, {"done": True, "resource": description})
        if self.command == "DELETE":
            store.remove(name)
            return self._send(204)
        if query.get("alt") == "media":
            return self._media(store.objects[name], held)
        return self._send(200, store.describe(name))

    def _media(self, data, generation):
        headers = {
            "Content-Type": "application/octet-stream",
            "x-goog-generation": str(generation),
            "x-goog-stored-content-length": str(len(data)),
        }
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self._send(200, data, headers)
        if wanted[1]:
            start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        else:
            start, stop = max(0, len(data) - int(wanted[2])), len(data)
        if start >= len(data):
            return self._send(416, b"not satisfiable", headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._send(206, data[start:stop], headers)

    def _list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in self.server.names(prefix):
            inside, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("",) * 3
            if name < query.get("startOffset", "") or name >= query.get("endOffset", "\U0010ffff"):
                continue
            if found:
                prefixes.add(prefix + inside + delimiter)
            else:
                items.append(self.server.describe(name))
        return self._send(
            200, {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}
        )

    def _upload(self, query, body):
        name = query.get("name")
        if query["uploadType"] == "resumable":
            name = name or json.loads(body)["name"]
            self.server.count += 1
            upload = f"upload-{self.server.count}"
            self.server.uploads[upload] = (name, bytearray())
            place = f"{self.server.url}/upload/storage/v1/b/{BUCKET}/o?upload_id={upload}"
            return self._send(200, {}, {"Location": place})
        if query["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
            about, data = re.split(rb"\r?\n?--" + re.escape(boundary), body)[1:3]
            name = json.loads(re.split(rb"\r?\n\r?\n", about, maxsplit=1)[1])["name"]
            body = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[1]
        if query.get("ifGenerationMatch") not in (None, str(self.server.generations.get(name, 0))):
            return self._send(412, {"error": {"code": 412, "message": "another generation"}})
        return self._send(200, self.server.put(name, body))

    def _chunk(self, upload, body):
        name, data = self.server.uploads[upload]
        if self.command == "DELETE":
            del self.server.uploads[upload]
            return self._send(499)
        data += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == "*":
            return self._send(308, b"", {"Range": f"bytes=0-{len(data) - 1}"})
        del self.server.uploads[upload]
        return self._send(200, self.server.put(name, data))
