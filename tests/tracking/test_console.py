"""The console on a pipe, where every byte is text, and on a pseudo-terminal, where there is a bar."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from gantrick.tracking import console as module
from gantrick.tracking.console import Console, duration

ROOT = Path(__file__).parents[2]
RUN = """
import time
from gantrick.tracking.console import Console
console = Console()
console.header({"recipe": "wgan_ct with ema", "data": "digits, 1,797 samples of 1×8×8", "folder": "runs/" + "x" * 100})
console.warn("[bold] is not markup: D has no batch statistics")
console.start(1000, 0, "fid/digits_cnn")
for step in range(1, 1001):
    console.step(step, {"images_per_second": 1234.5, "loss/d": 0.6931, "loss/g": 1.5} if step % 10 == 0 else {})
    if step == 500:
        console.step(step, {"fid/digits_cnn": 45.25})
        console.event("step 500: fid/digits_cnn 45.25")
        time.sleep(0.25)
console.stop()
console.closing(["fid/digits_cnn 45.25 at the end", "run folder: runs/x"])
"""


def environment(**more: str) -> dict[str, str]:
    clean = {
        k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM")
    }
    return {**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}


def on_pipe(**more: str) -> str:
    done = subprocess.run([sys.executable, "-c", RUN], env=environment(**more), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode(more.get("PYTHONIOENCODING", "utf-8"))


def on_terminal(**more: str) -> str:
    """What a terminal of 100 columns is sent, in full."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    run = subprocess.Popen([sys.executable, "-c", RUN], env=environment(**more), stdout=theirs, stderr=theirs)
    os.close(theirs)
    sent = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux tells that the other side has closed
            break
        if not part:
            break
        sent += part
    os.close(ours)
    assert run.wait(20) == 0
    return sent.decode()


def test_a_pipe_gets_plain_lines() -> None:
    text = on_pipe()
    assert "\x1b" not in text and "\r" not in text
    lines = text.splitlines()
    assert lines[:4] == [
        "recipe  wgan_ct with ema",
        "data    digits, 1,797 samples of 1×8×8",
        "folder  runs/" + "x" * 100,
        "warning: [bold] is not markup: D has no batch statistics",
    ]
    first = r"step 10/1,000 \(1%\)  1,234 images/s  loss d 0.693 g 1.5  \d+ s left"
    assert re.fullmatch(first, lines[4])
    assert lines[5:] == [
        "step 500: fid/digits_cnn 45.25",
        "step 1,000/1,000 (100%)  1,234 images/s  loss d 0.693 g 1.5  fid/digits_cnn 45.25",
        "fid/digits_cnn 45.25 at the end",
        "run folder: runs/x",
    ]


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"FORCE_COLOR": "1"}], ids=str)
def test_no_setting_puts_codes_into_a_pipe(more: dict[str, str]) -> None:
    assert "\x1b" not in on_pipe(**more)


def test_an_ascii_stream_loses_a_sign_and_not_the_run() -> None:
    assert "samples of 1?8?8" in on_pipe(PYTHONIOENCODING="ascii")


def test_a_terminal_gets_a_bar() -> None:
    sent = on_terminal()
    assert "\x1b[" in sent
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    frames = [frame for frame in re.split(r"[\r\n]+", plain) if "━" in frame]
    assert re.match(r"step 0/1,000 ━+", frames[0])
    last = r"step 1,000/1,000 ━{20} 1,234 images/s  loss d 0.693 g 1.5  fid/digits_cnn 45.25 *"
    assert re.fullmatch(last, frames[-1])
    assert any(re.search(r"\d+ s left", frame) for frame in frames)
    lines = re.split(r"[\r\n]+", plain)
    for line in ("step 500: fid/digits_cnn 45.25", "run folder: runs/x", "folder  runs/" + "x" * 100):
        assert line in lines
    assert "warning: [bold] is not markup: D has no batch statistics" in plain
    assert len(frames) < 12  # of 1000 steps: pictures are drawn by the clock
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1  # the cursor is given back


def test_no_color_is_honoured() -> None:
    def colours(text: str) -> list[str]:
        codes = [code for group in re.findall(r"\x1b\[([0-9;]*)m", text) for code in group.split(";")]
        return [code for code in codes if re.fullmatch(r"3\d|4\d|9\d|10\d", code)]

    assert colours(on_terminal())
    assert not colours(on_terminal(NO_COLOR="1"))


def test_a_dumb_terminal_gets_lines() -> None:
    text = on_terminal(TERM="dumb")
    assert "\x1b" not in text and "━" not in text and "step 1,000/1,000 (100%)" in text


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    console = Console(stream, quiet=True)
    console.header({"a": "b"})
    console.warn("w")
    console.start(10)
    console.step(10, {"loss/d": 1.0})
    console.event("e")
    console.stop()
    console.closing(["c"])
    assert stream.getvalue() == ""


class Clock:
    """time.monotonic, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_lines_come_by_the_clock_and_tell_the_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start(300)
    for step in range(1, 201):  # a second each
        console.step(step, {"loss/d": 1.0})
        clock.now += 1
    steps = [int(n) for n in re.findall(r"^step (\d+)/300", stream.getvalue(), re.M)]
    assert steps == [1, 31, 61, 91, 121, 151, 181]
    assert "step 181/300 (60%)  loss d 1  2 min left" in stream.getvalue()
    console.stop()
    assert stream.getvalue().splitlines()[-1].startswith("step 200/300 (66%)")  # stopped early: the last state stands


def test_a_resumed_run_takes_its_speed_from_its_own_steps(clock: Clock) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start(1000, 900)
    console.step(901, {"loss/d": 1.0})
    clock.now += 40
    console.step(951, {})
    assert stream.getvalue().splitlines()[-1] == "step 951/1,000 (95%)  loss d 1  39 s left"  # 0.8 s a step


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [Broken(), io.StringIO()], ids=["broken", "closed"])
def test_a_stream_that_breaks_silences_the_console(stream: io.StringIO) -> None:
    console = Console(stream)
    if not isinstance(stream, Broken):
        stream.close()
    console.start(10)
    console.event("anybody?")
    assert console.quiet
    console.step(1, {"loss/d": 1.0})
    console.stop()
    console.closing(["nobody"])


def test_a_terminal_that_hangs_up_gives_back_stdout() -> None:
    ours, theirs = pty.openpty()
    before = sys.stdout
    with os.fdopen(theirs, "w") as stream:
        console = Console(stream)
        console._terminal = True  # whatever TERM is here
        console.start(10)
        assert sys.stdout is not before  # prints of others go above the bar
        os.close(ours)
        console.event("anybody?")
        assert console.quiet
        console.stop()
        assert sys.stdout is before
        with pytest.raises(OSError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that closing finds somewhere to flush to


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
