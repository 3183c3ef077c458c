"""Task files that misbehave, as text: each must end in a right artifact or in one sentence, and leave nothing.

A text is put into a whole task file of a small net: into its metric, its calibration, the function that makes the task, or in
front of it all.
"""

from collections.abc import Iterator
from textwrap import indent

WHOLE = """
import ctypes, gc, json, os, resource, signal, socket, subprocess, sys, tempfile, threading, time, warnings
from pathlib import Path
import numpy as np, torch
from torch import nn
import edgekit as ek

{module}
IMAGES = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 10)
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

def seeded():
    torch.manual_seed(0)
    return Net()

def score(predict):
    with torch.no_grad():
        right = seeded()(torch.from_numpy(IMAGES.copy())).argmax(1).numpy()
    return float((predict(IMAGES).argmax(1) == right).mean())

def metric(predict):
{metric}
    return score(predict)

{calibration}
def task():
    given = dict(name="small", model=seeded, example_inputs=(torch.zeros(1, 3, 8, 8),), calibration=[IMAGES[:8], IMAGES[8:]], metric=metric)
{task}
    return ek.Task(**given)
"""

# what ends, stops or breaks the process
_IN_THE_METRIC = {
    "exits": "sys.exit(0)",
    "exits with a text": "sys.exit('bye\\nbye')",
    "is interrupted": "raise KeyboardInterrupt",
    "ends at once": "os._exit(0)",
    "ends at once, with a code": "os._exit(3)",
    "touches address 0": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "kills itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminates itself": "os.kill(os.getpid(), signal.SIGTERM)",
    "kills its group": "os.killpg(0, signal.SIGKILL)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "never ends": "time.sleep(1000)",
    "never ends and works": "while True: pass",
    "never ends and ignores signals": "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT)]; time.sleep(1000)",
    "waits for stdin": "sys.stdin.read(); input()",
    "waits for a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "recurses": "f = lambda n: f(n + 1); f(0)",
    "recurses without a limit": "sys.setrecursionlimit(10**9); f = lambda n: f(n + 1) + 1; f(0)",
    "sets an alarm": "signal.alarm(1); time.sleep(3)",
    "sets a signal handler": "signal.signal(signal.SIGTERM, lambda *_: None); signal.signal(signal.SIGALRM, lambda *_: 1 / 0); signal.alarm(1); time.sleep(2)",
    "raises from a long text": "raise RuntimeError('x' * 100000 + '\\n\\x1b[2J\\0')",
    "raises what has no text": "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "raises a BaseException": "raise type('Odd', (BaseException,), {})('odd')",
    "raises a group": "raise ExceptionGroup('many', [ValueError('a'), OSError(28, 'b')])",
    "raises a full disk of its own": "raise OSError(28, 'No space left on device')",
    "takes all memory": "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); x = [np.ones(1 << 24) for _ in range(1000)]",
    # what it starts and leaves
    "forks": "os.fork()",
    "forks, and the child waits": "if os.fork() == 0: time.sleep(1000)",
    "starts a program": "subprocess.Popen(['sleep', '1000'])",
    "starts a daemon": "subprocess.Popen(['sleep', '1001'], start_new_session=True)",
    "starts a daemon twice removed": "subprocess.run(['sh', '-c', 'setsid sleep 1002 >/dev/null 2>&1 &'])",
    "waits for a program": "subprocess.run(['sleep', '1000'])",
    "starts a thread": "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "starts 200 threads": "[threading.Thread(target=time.sleep, args=(1000,), daemon=True).start() for _ in range(200)]",
    "opens a server": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); globals().update(kept=s)",
    "writes into the temporary folder": "Path(tempfile.mkdtemp(), 'x').write_bytes(bytes(10**6))",
    # what it prints, closes and moves
    "prints noise": "os.write(1, os.urandom(300000)); os.write(2, b'\\xff\\xfe\\x1b]0;x\\x07' * 1000)",
    "prints 50 MB": "print('x' * 1000, end=''); [os.write(1, b'y' * 10**6) for _ in range(50)]",
    "prints escapes and fails": "print('\\x1b]0;title\\x07\\x1b[31m\\x9b2J', flush=True); os._exit(1)",
    "closes its outputs": "sys.stdout.close(); os.close(1); os.close(2)",
    "closes all files": "os.closerange(3, 200)",
    "closes really all files": "os.closerange(0, 200)",
    "opens files until none is left": "globals().update(kept=[open('/dev/null') for _ in range(10**6)])",
    "allows few files": "resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))",
    "allows no process": "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))",
    "leaves its folder": "os.chdir('/')",
    "removes its folder": "d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    "removes the temporary folder": "__import__('shutil').rmtree(os.environ['TMPDIR'], ignore_errors=True)",
    "clears the environment": "os.environ.clear()",
    "changes the mask": "os.umask(0o777)",
    # what it leaves in the folder of its stage
    "leaves half a result": "Path(os.environ['TMPDIR']).parent.joinpath('result.json').write_text('{\"result\": '); os._exit(0)",
    "leaves a result of its own": 'Path(os.environ[\'TMPDIR\']).parent.joinpath(\'result.json\').write_text(\'{"result": {"metric": "x"}, "files": {}}\'); os._exit(0)',
    "leaves a folder for a result": "Path(os.environ['TMPDIR']).parent.joinpath('result.json').mkdir(); os._exit(0)",
    "leaves a log without an end": "log = Path(os.environ['TMPDIR']).parent / 'log.txt'; log.unlink(); log.symlink_to('/dev/zero'); os._exit(1)",
    "removes its folder and goes on": "__import__('shutil').rmtree(Path(os.environ['TMPDIR']).parent)",
    # what it does to the answers
    "writes into its answer": "a = predict(IMAGES); a[:] = np.nan",
    "writes into its data": "IMAGES[...] = IMAGES * 1.01",
    "keeps every answer": "globals().setdefault('kept', []).append(predict(IMAGES)); gc.disable()",
    "asks for nothing": "return 0.5",
    "asks with an empty batch": "predict(IMAGES[:0])",
    "asks with text": "predict('text')",
    "asks from a thread": "t = threading.Thread(target=predict, args=(IMAGES,)); t.start(); t.join()",
    "asks with 3,000 images": "predict(np.repeat(IMAGES, 200, 0))",
}
_ANSWERS = (
    "float('nan')", "float('inf')", "None", "'0.9'", "np.zeros(3)", "1j", "10**400", "10**5000", "[0.5]", "type('F', (float,), {'__float__': lambda s: 1 / 0})()",
)  # fmt: skip
_CALIBRATIONS = {
    "never ends": "type('C', (), {'__iter__': lambda s: iter(lambda: IMAGES[:1], None)})()",
    "exits": "type('C', (), {'__iter__': lambda s: sys.exit(0)})()",
    "is there once": "iter([IMAGES[:8]])",
    "is of objects": "[np.array([object()])]",
    "is of huge values": "[IMAGES * 1e38]",
    "is empty": "[IMAGES[:0]]",
}
_IN_THE_TASK = {
    "a name that leads elsewhere": "given['name'] = '../../../../EVIL'",
    "a name of HTML": "given['name'] = '<script>alert(1)</script>\"'",
    "a name of control characters": "given['name'] = 'a\\nb\\x1b[2J\\0'",
    "a name of a million characters": "given['name'] = 'n' * 10**6",
    "a name of half a character": "given['name'] = 'x\\ud800'",
    "closed outputs": "sys.stdout.close(); os.close(1)",
    "JSON replaced": "json.dumps = json.loads = None",
    "hashes replaced": "import hashlib; hashlib.sha256 = hashlib.file_digest = None",
    "warnings as errors": "warnings.simplefilter('error')",
    "a low limit of recursion": "sys.setrecursionlimit(90)",
    "another default device": "torch.set_default_device('meta')",
    "another default type": "torch.set_default_dtype(torch.float64); torch.use_deterministic_algorithms(True)",
    "a tracer": "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "exits": "sys.exit(0)",
    "never ends": "time.sleep(1000)",
}
_MODULES = {
    "exits": "sys.exit(0)",
    "recurses": "def f(): f()\nf()",
    "prints noise": "os.write(1, os.urandom(100000))",
    "hides edgekit": "sys.modules['edgekit.trace.stage'] = None; sys.modules['json'] = None",
    "ends at exit": "import atexit; atexit.register(lambda: time.sleep(1000))",
    "is not Python": "this is not ( Python",
    "holds a zero byte": "x = '\0'",
}


def files() -> Iterator[tuple[str, str]]:
    """What each does, and its text."""

    def filled(**parts: str) -> str:
        whole = {"module": "", "metric": "pass", "calibration": "", "task": "pass", **parts}
        indented = {name: indent(whole[name], "    ") for name in ("metric", "task")}
        return WHOLE.format(**whole | indented)

    yield from ((f"a metric that {what}", filled(metric=text)) for what, text in _IN_THE_METRIC.items())
    yield from (
        (f"a metric that answers {text[:20]}", filled(metric=f"predict(IMAGES)\nreturn {text}"))
        for text in _ANSWERS
    )
    yield from (
        (f"a calibration that {what}", filled(task=f"given['calibration'] = {text}"))
        for what, text in _CALIBRATIONS.items()
    )
    yield from ((f"a task with {what}", filled(task=text)) for what, text in _IN_THE_TASK.items())
    yield from ((f"a file that {what}", filled(module=text)) for what, text in _MODULES.items())
