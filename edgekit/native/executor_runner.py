"""ExecuTorch's `executor_runner`, which executes a .pte file and tells the time of all executions together.

    I 00:00:00.123 executorch:executor_runner.cpp:462] Model executed successfully 50 time(s) in 612.345000 ms.

The first execution is among them, so its figure is a little high. Versions before 1.0 tell no time, and are refused.
"""

import re

from edgekit.native import Output, Unknown

FORMATS = (".pte",)
PROVES = False
_DONE = re.compile(r"Model executed successfully (\d+) time\(s\) in ([0-9][0-9.eE+-]*) ms")


def command(program: str, model: str, threads: int, runs: int) -> list[str]:
    """How it is called."""
    return [
        program, f"--model_path={model}", f"--num_executions={runs}", f"--cpu_threads={threads}", "--print_output=none",
    ]  # fmt: skip


def parse(text: str) -> Output:
    """Reads its output. Raises Unknown where it is another."""
    found = _DONE.search(text)
    if found is None or int(found[1]) < 1:
        raise Unknown("no line 'Model executed successfully N time(s) in T ms'")
    return Output(runs=int(found[1]), mean_s=float(found[2]) / 1e3 / int(found[1]))
