"""Downloads from a server of our own: whole or absent, resumed, explained."""

import hashlib
import http.server
import socket
import threading
from dataclasses import dataclass, field

import pytest

from minigrad.data import DownloadError, download, sha256_of
from minigrad.errors import ArgError, DataFormatError, MinigradError

CONTENT = bytes(range(256)) * 4000
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the handler does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    wrong_range: bool = False
    cut_after: int | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format, *arguments):
            """Silence."""

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if self.path != "/file":
                return self.send_error(404)
            total, start = len(state.content), 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                given = start + 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {given}-{total - 1}/{total}")
            else:
                self.send_response(200)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after])

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http_server.server_port}/file"
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http_server.shutdown()
    thread.join()
    http_server.server_close()


def test_a_file_arrives_once_and_is_not_fetched_again(server, tmp_path):
    path = tmp_path / "new" / "file.bin"
    for _ in range(2):
        assert download(server.url, path, sha256=SHA) == path
    assert path.read_bytes() == CONTENT and sha256_of(path) == SHA
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_broken_connection_is_resumed_where_it_stopped(server, tmp_path):
    path = tmp_path / "file.bin"
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"connection lost after 300000 of 1024000 bytes"):
        download(server.url, path, sha256=SHA)
    assert not path.exists() and (tmp_path / "file.bin.part").stat().st_size == 300_000
    server.cut_after = None
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"old" * 100)
    assert download(server.url, tmp_path / "file.bin", sha256=SHA).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"more than there is"])
def test_a_part_that_is_already_whole_or_too_long(server, tmp_path, extra):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + extra)
    assert download(server.url, tmp_path / "file.bin", sha256=SHA).read_bytes() == CONTENT


def test_another_range_than_asked_for_is_not_glued_together(server, tmp_path):
    server.wrong_range = True
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:10])
    with pytest.raises(DownloadError, match="another range"):
        download(server.url, tmp_path / "file.bin", sha256=SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_keeps_the_file_as_bad(server, tmp_path):
    path = tmp_path / "file.bin"
    server.content = b"something else"
    with pytest.raises(DataFormatError, match=r"expected .*; kept as .*file\.bin\.bad; try again"):
        download(server.url, path, sha256=SHA)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin.bad"]
    server.content = CONTENT
    assert download(server.url, path, sha256=SHA).read_bytes() == CONTENT


def test_a_stale_part_of_another_file_is_found_by_its_checksum(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"\xff" * 1000)
    with pytest.raises(DataFormatError, match="kept as"):
        download(server.url, tmp_path / "file.bin", sha256=SHA)
    assert download(server.url, tmp_path / "file.bin", sha256=SHA).read_bytes() == CONTENT


def test_a_damaged_file_in_place_is_replaced(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT[:-1])
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT


def test_failures_say_where_to_put_the_file(server, tmp_path):
    path = tmp_path / "file.bin"
    missing = server.url + "-that-is-not-there"
    with pytest.raises(DownloadError) as caught:
        download(missing, path, sha256=SHA)
    assert "Not Found" in str(caught.value)
    assert f"fetch it by hand from {missing} and put it at {path}" in str(caught.value)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, MinigradError)


def test_offline_is_explained(tmp_path):
    with socket.socket() as s:  # a port that nobody listens on
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/file"
    with pytest.raises(DownloadError, match=r"cannot download file\.bin .*refused.*put it at"):
        download(url, tmp_path / "file.bin", sha256=SHA)


def test_limits_and_addresses(server, tmp_path):
    path = tmp_path / "file.bin"
    with pytest.raises(DataFormatError, match="more than 1000 bytes"):
        download(server.url, path, sha256=SHA, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []
    for url in ("file:///etc/passwd", "ftp://x/y", "x"):
        with pytest.raises(ArgError, match="only http and https"):
            download(url, path, sha256=SHA)
