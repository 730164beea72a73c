"""Downloads against a real server on the loopback interface."""

import hashlib
import http.server
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.download import Checksum, download

CONTENT = np.random.default_rng(0).bytes(1_500_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in the manner its server's `manner` asks for."""

    def do_GET(self):
        manner, log = self.server.manner, self.server.log
        log.append(self.headers.get("Range"))
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
        if manner == "missing":
            return self.send_error(404)
        if manner == "silent":
            self.server.done.wait(10)
            return None
        if manner == "ignores ranges":
            start = 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        ranged = bool(self.headers.get("Range")) and manner != "ignores ranges"
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + 400_000 if manner == "drops" else len(CONTENT)
        self.wfile.write(CONTENT[start:end])
        return None

    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def serving(manner):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.manner, server.log, server.done = manner, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(url, target, *, md5=MD5, seen=None, **options):
    def progress(done, total):
        if seen is not None:
            seen.append((done, total))

    download(url, target, checksum=Checksum("md5", md5), progress=progress, timeout_s=(2, 1), **options)


def part_of(target):
    return target.with_name(target.name + ".part")


def test_a_file_is_fetched_into_a_new_folder_and_its_progress_told(tmp_path):
    target, seen = tmp_path / "new" / "a.tar.gz", []
    with serving("well") as (server, url):
        fetch(url, target, seen=seen)
        fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.log == [None]  # the second call found the file


@pytest.mark.parametrize(
    ("manner", "there"), [("well", 500_000), ("ignores ranges", 500_000), ("well", 1_500_000)]
)
def test_a_partial_download_is_continued(tmp_path, manner, there):
    target = tmp_path / "a.tar.gz"
    part_of(target).write_bytes(CONTENT[:there])
    with serving(manner) as (server, url):
        fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert server.log == [f"bytes={there}-"]


def test_a_part_that_is_longer_than_the_file_is_started_over(tmp_path):
    target = tmp_path / "a.tar.gz"
    part_of(target).write_bytes(CONTENT + b"more")
    with serving("well") as (_, url):
        fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_hangs_up_is_asked_again_for_the_rest(tmp_path):
    target = tmp_path / "a.tar.gz"
    with serving("drops") as (server, url):
        fetch(url, target)
    assert target.read_bytes() == CONTENT
    starts = [int(asked[6:-1]) for asked in server.log[1:]]
    assert server.log[0] is None
    assert len(starts) >= 3
    assert starts == sorted(set(starts))


def test_a_wrong_checksum_is_refused_and_the_part_removed(tmp_path):
    target = tmp_path / "a.tar.gz"
    with serving("well") as (_, url), pytest.raises(EnvironmentProblem, match="MD5") as refused:
        fetch(url, target, md5="0" * 32)
    assert refused.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_file_does_not_survive(tmp_path):
    target = tmp_path / "a.tar.gz"
    part_of(target).write_bytes(bytes(500_000))
    with serving("well") as (_, url):
        with pytest.raises(EnvironmentProblem, match="MD5"):
            fetch(url, target)
        fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_no_server_says_what_to_do(tmp_path):
    with serving("well") as (_, url):
        pass
    with pytest.raises(EnvironmentProblem, match="cannot download") as refused:
        fetch(url, tmp_path / "a.tar.gz", remedy="put it there")
    assert refused.value.remedy == "put it there"


def test_a_missing_file_names_the_answer(tmp_path):
    with serving("missing") as (server, url), pytest.raises(EnvironmentProblem, match="404"):
        fetch(url, tmp_path / "a.tar.gz")
    assert len(server.log) == 1


def test_a_silent_server_is_given_up(tmp_path):
    with serving("silent") as (_, url), pytest.raises(EnvironmentProblem, match="does not answer"):
        download(
            url, tmp_path / "a", checksum=Checksum("md5", MD5), progress=lambda *_: None, timeout_s=(0.2, 0.1)
        )


def test_two_downloads_of_one_file_wait_for_each_other(tmp_path):
    target, problems = tmp_path / "a.tar.gz", []

    def run():
        try:
            fetch(url, target)
        except EnvironmentProblem as problem:
            problems.append(problem)

    with serving("well") as (server, url):
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
            time.sleep(0.001)
        for thread in threads:
            thread.join()
    assert problems == []
    assert target.read_bytes() == CONTENT
    assert server.log == [None]
    assert not part_of(target).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with serving("well") as (_, url), pytest.raises(EnvironmentProblem, match="cannot write"):
        fetch(url, tmp_path / "file" / "a.tar.gz")


def test_the_beginning_of_a_digest_is_enough(tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    with serving("well") as (_, url):
        right, wrong = Checksum("sha256", digest[:8]), Checksum("sha256", "0" + digest[:7])
        download(url, tmp_path / "right", checksum=right, progress=lambda *_: None)
        with pytest.raises(EnvironmentProblem, match="SHA256 is not 0"):
            download(url, tmp_path / "wrong", checksum=wrong, progress=lambda *_: None)
    assert (tmp_path / "right").read_bytes() == CONTENT
