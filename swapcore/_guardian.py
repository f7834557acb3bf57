"""The guardian: a small process that owns the whole process tree of one model.

Run by file path as ``python -I -S``, with the standard library only, so that
it starts fast and stays small; `_guardian_link` is the supervisor's end.
Its three standard descriptors are its whole connection:

- 0, the control pipe: commands from the supervisor. Its end of file means
  that the supervisor is gone, however it died, and then the tree goes too.
- 1, the status pipe: reports to the supervisor.
- 2, the output pipe: the model's standard output and error, and a traceback
  of the guardian's own, should there ever be one.

Commands: ``start argv env cwd stop_argv stop_bound``, ``signal number``,
``stop`` (run the stop command), ``kill`` (everything, now). Reports:
``spawned pid``, ``failed text``, ``exited status``,
``stop_ended status``, and ``gone`` once no process of the tree is left; the
guardian exits right after. A status is an exit code, or minus a signal number.

Why nothing escapes, on Linux: the guardian is a child sub-reaper (prctl(2)), so
every descendant stays below it, whatever it did with sessions, double forks
and its environment; and waitpid(2) saying "no child" is exactly "no descendant
is left". Elsewhere on POSIX only the model's process group is killed.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # as in typing, whose import would cost as much as the whole rest
if TYPE_CHECKING:
    from typing import Any, NoReturn

CONTROL, STATUS, OUTPUT = 0, 1, 2

# How long a stop command may go on once the model itself is gone, to clean up after it.
STOP_COMMAND_LINGER = 2.0

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def pack(*message: Any) -> bytes:
    """Frame one message. Both ends run the same interpreter, so `marshal` will do, and it costs no import."""
    body = marshal.dumps(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Return the messages that *data* completes."""
        self._data += data
        messages: list[tuple[Any, ...]] = []
        while len(self._data) >= 4 and len(self._data) >= (end := 4 + int.from_bytes(self._data[:4], "big")):
            messages.append(marshal.loads(self._data[4:end]))
            self._data = self._data[end:]
        return messages


# -- processes of this machine, from proc(5) --------------------------------------


class Process:
    """One line of ``/proc/PID/stat``."""

    __slots__ = ("group", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, stat: str) -> None:
        fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold anything
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = (int(field) for field in fields[1:4])
        self.start = int(fields[19])
        """Clock ticks since boot: together with the pid it names a process for good."""

    @property
    def alive(self) -> bool:
        """Whether it still holds anything. A zombie does not, and its parent may never reap it."""
        return self.state not in "ZX"


def process(pid: int) -> Process | None:
    """Return what is at *pid* now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return Process(pid, file.read())
    except (OSError, ValueError):  # it vanished, perhaps half-way through; or there is no /proc
        return None


def processes() -> list[Process]:
    """Return every process that can be seen; empty where there is no ``/proc``."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [found for name in names if name.isdigit() and (found := process(int(name)))]


def descendants(roots: set[int], among: list[Process]) -> list[Process]:
    """Return the living descendants of *roots*, which are not among them."""
    children: dict[int, list[Process]] = {}
    for one in among:
        children.setdefault(one.parent, []).append(one)
    found: list[Process] = []
    todo = list(roots)
    while todo:
        below = children.pop(todo.pop(), [])
        found += [one for one in below if one.alive and one.pid not in roots]
        todo += [one.pid for one in below]
    return found


def kill_exactly(victim: Process) -> None:
    """SIGKILL *victim*, and never another process that has its pid by now."""
    try:
        handle = os.pidfd_open(victim.pid) if sys.platform == "linux" else -1
    except OSError:  # gone; or an old kernel, or a sandbox
        handle = -1
    try:
        now = process(victim.pid)
        if now is None or now.start != victim.start:
            return
        if sys.platform == "linux" and handle >= 0:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        else:
            os.kill(victim.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        if handle >= 0:
            os.close(handle)


def signal_group(group: int, number: int) -> None:
    """Signal every member of a process group, if there is one."""
    try:  # noqa: SIM105 - contextlib is an import more
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted, when only zombies are left
        pass


# -- the guardian -------------------------------------------------------------------


class Guardian:
    """All its state, and the loop that owns it. Decides on facts only: what was read, and who has exited."""

    def __init__(self, wakeup: int) -> None:
        self._wakeup = wakeup
        """Readable after a SIGCHLD."""
        self._frames = Frames()
        self._commands: list[tuple[Any, ...]] = []
        self._supervised = True
        self._job: tuple[list[bytes], dict[bytes, bytes], bytes | None, list[bytes], float] | None = None
        self._leader = 0
        self._leader_lives = False
        self._exec_pipe = -1
        """Open until the leader has become the model's program, or has told why it could not."""
        self._stopper = 0
        """The running stop command."""
        self._stop_tried = False
        self._kill_at = float("inf")
        """From then on everything is killed, again and again until nothing is left."""

    def run(self) -> NoReturn:
        """Exit once the supervisor is gone or the model has exited, and nothing of it is left."""
        pause = 0.001
        while True:
            has_children = self._reap()
            wait = self._kill_at - time.monotonic()
            if wait <= 0:
                if not has_children:
                    break
                self._kill_all()
                wait, pause = pause, min(2 * pause, 0.05)
            self._read(wait)
        self._report("gone")
        os._exit(0)  # an interpreter that ends in order takes milliseconds more, in which a swap waits

    def _report(self, *message: object) -> None:
        try:  # noqa: SIM105
            os.write(STATUS, pack(*message))
        except OSError:  # nobody is left to tell
            pass

    # -- what happens ------------------------------------------------------------

    def _read(self, wait: float) -> None:
        watched = [self._wakeup]
        if self._supervised:
            watched.append(CONTROL)
        if self._exec_pipe >= 0:
            watched.append(self._exec_pipe)
        ready = select.select(watched, [], [], None if wait == float("inf") else wait)[0]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        if self._exec_pipe in ready:
            self._on_exec()
        if CONTROL in ready:
            if data := os.read(CONTROL, 65536):
                self._on_frames(self._frames.feed(data))
            else:
                self._on_supervisor_gone()
        # A signal between fork and exec would meet this program's dispositions, not the model's.
        while self._commands and self._exec_pipe < 0:
            self._on_command(*self._commands.pop(0))

    def _on_frames(self, commands: list[tuple[Any, ...]]) -> None:
        for command in commands:
            if command == ("kill",):  # waits for nothing: a program on a dead file system never gets started
                self._kill_at = 0.0
            else:
                self._commands.append(command)

    def _reap(self) -> bool:
        """Reap whoever has exited, and return whether children are left."""
        while True:
            try:
                pid, status = self._next_exit()
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._leader:
                self._on_leader_exit(os.waitstatus_to_exitcode(status))
            elif pid == self._stopper:
                self._on_stop_ended(os.waitstatus_to_exitcode(status))

    def _next_exit(self) -> tuple[int, int]:
        if sys.platform != "linux":
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid and pid == self._leader:
                signal_group(pid, signal.SIGKILL)
            return pid, status
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return 0, 0
        if found.si_pid == self._leader:
            # Before it is reaped: until then its pid, which is the group's number, cannot be another's.
            signal_group(self._leader, signal.SIGKILL)
        return os.waitpid(found.si_pid, 0)

    def _on_exec(self) -> None:
        problem = os.read(self._exec_pipe, 4096)
        os.close(self._exec_pipe)
        self._exec_pipe = -1
        if problem:
            self._leader, self._leader_lives = 0, False  # its exit is no news
            self._report("failed", problem.decode(errors="replace"))
            self._kill_at = 0.0
        else:
            self._report("spawned", self._leader)

    def _on_leader_exit(self, status: int) -> None:
        if self._exec_pipe >= 0:
            self._on_exec()
        self._leader_lives = False
        if self._leader:
            self._report("exited", status)
        linger = STOP_COMMAND_LINGER if self._stopper else 0.0
        self._kill_at = min(self._kill_at, time.monotonic() + linger)

    def _on_stop_ended(self, status: int) -> None:
        self._stopper = 0
        self._report("stop_ended", status)
        if not self._leader_lives or (status != 0 and not self._supervised):
            self._kill_at = 0.0

    def _on_supervisor_gone(self) -> None:
        self._supervised = False
        grace = 0.0
        if self._job is not None and self._leader_lives and self._exec_pipe < 0:
            if not self._stop_tried:
                self._run_stop_command()
            if self._stopper:
                grace = self._job[4]
        self._kill_at = min(self._kill_at, time.monotonic() + grace)

    def _on_command(self, name: str, *arguments: Any) -> None:
        match name:
            case "start":
                argv, env, cwd, stop_argv, stop_bound = arguments
                self._job = (argv, env, cwd, stop_argv, stop_bound)
                self._start(argv, env, cwd)
            case "signal" if self._leader_lives:
                signal_group(self._leader, arguments[0])
            case "stop" if self._leader_lives:
                self._run_stop_command()
            case _:  # it came too late
                pass

    # -- what is done -------------------------------------------------------------

    def _start(self, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes | None) -> None:
        self._exec_pipe, complaints = os.pipe()
        try:
            self._leader = fork_exec(argv, env, cwd, complaints)
        except OSError as error:
            self._report("failed", f"fork: {error.strerror}")
            self._kill_at = 0.0
        else:
            self._leader_lives = True
        finally:
            os.close(complaints)

    def _run_stop_command(self) -> None:
        if self._job is None or not self._job[3] or self._stopper:
            return
        _, env, cwd, stop_argv, _ = self._job
        self._stop_tried = True
        argv = [word.replace(b"${PID}", str(self._leader).encode()) for word in stop_argv]
        try:
            self._stopper = fork_exec(argv, env, cwd, OUTPUT)
        except OSError:
            self._on_stop_ended(127)

    def _kill_all(self) -> None:
        # Repeated by the caller: what forks while this looks is seen the next time.
        if self._leader_lives:
            signal_group(self._leader, signal.SIGKILL)
        if self._stopper:
            signal_group(self._stopper, signal.SIGKILL)
        for victim in descendants({os.getpid()}, processes()):
            kill_exactly(victim)


def fork_exec(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes | None, complaints: int) -> int:
    """Start a program as the leader of a new process group, and return its pid.

    No standard input; both outputs go to the output pipe; nothing else is inherited. When it
    cannot be started, the reason is written to the descriptor *complaints*.
    """
    pid = os.fork()
    if pid == 0:
        _become(argv, env, cwd, complaints)
    try:  # noqa: SIM105
        os.setpgid(pid, pid)  # here and in the child: whoever comes first, a signal for the group finds it
    except OSError:  # it has become its program already, or is gone
        pass
    return pid


def _become(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes | None, complaints: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.dup2(os.open(os.devnull, os.O_RDONLY), CONTROL)
        os.dup2(OUTPUT, STATUS)
        if cwd is not None:
            os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        what = os.fsdecode(error.filename or argv[0])
        os.write(complaints, f"{what}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def adopt_orphans() -> None:
    """Become the child sub-reaper (prctl(2)): a descendant whose parent dies becomes our child."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # an interpreter without it: as on other systems, then
        pass


def _ignore(number: int, frame: object) -> None:
    pass


def main() -> None:
    """Serve one job, or none."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _ignore)  # a handler, so that the wakeup descriptor is written to
    if sys.platform == "linux":
        adopt_orphans()
    Guardian(wakeup).run()


if __name__ == "__main__":
    main()
