from __future__ import annotations

import subprocess
import sys
import textwrap


def test_a_signal_just_before_the_wait_is_not_missed() -> None:
    """It ends the wait at once, also where another thread of the process has received it."""
    script = """
        import os, signal, threading, time
        from regularization_server.process.signals import Signals
        signals = Signals([signal.SIGTERM])
        def receive():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            while True:
                time.sleep(0.01)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=receive, daemon=True).start()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert signals.next(20) == signal.SIGTERM
        assert signals.next(0.01) is None
        signals.put(signal.SIGINT)
        assert signals.next(0.01) == signal.SIGINT
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=15)
    assert done.returncode == 0
