"""The table of widths: what is measured, kept, refused, and what a device that vanishes costs. The last test measures for real."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from edgekit.engine.measure_specs import WidthFiles, WidthTableSpec
from edgekit.engine.task_source import pickle_task
from edgekit.engine.user_cache import cache_folder
from edgekit.errors import DeviceError
from edgekit.measure import width_table as stage
from edgekit.profile.reading import load_target
from edgekit.prune.latency.width_costs import TABLES, Store
from edgekit.quant import program as programs
from edgekit.records import Artifact, Candidate, Recipe, Step, WidthTable
from edgekit.task import Task
from edgekit.trace.model import export

pytestmark = pytest.mark.long

HOST = {"machine": "x86_64", "isa": "avx2", "emulated": "no", "cpu_model": "a CPU"}


class Net(nn.Module):
    """Two convolutions that share 16 channels, two that share 32."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.c, self.head = nn.Conv2d(32, 8, 1), nn.Linear(8 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.head(torch.flatten(self.c(x), 1))


def metric(predict: Any) -> float:
    return float(predict(torch.zeros(1, 1, 4, 4)).mean())


class Bench:
    """Stands for the device and the exporter: counts files, takes time by width, and vanishes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[list[str]] = []
        self.written: list[str] = []
        self.vanishes_at = -1
        self.host = dict(HOST)
        monkeypatch.setattr(stage, "timer", self.timer)
        monkeypatch.setattr(stage, "_asked", lambda device, spec: self.record([]))
        monkeypatch.setattr(stage, "write", self.write)
        monkeypatch.setattr(stage, "of_program", self.of_program)

    def write(self, module: nn.Module, examples: Any, *rest: Any) -> Artifact:
        with torch.no_grad():
            module(*examples)
        return self._artifact(f"micro {sum(p.numel() for p in module.parameters())}")

    def of_program(self, program: str, precision: str, *rest: Any) -> Artifact:
        return self._artifact(f"whole {precision}")

    def _artifact(self, path: str) -> Artifact:
        self.written.append(path)
        return Artifact(
            path=path, format="onnx", precision="float32", size_bytes=1, sha256="", inputs=(), outputs=(),
            layout="NCHW", toolchain={},
        )  # fmt: skip

    @contextmanager
    def timer(self, name: str) -> Iterator[Any]:
        yield self.times

    def times(self, files: Sequence[Artifact]) -> dict[str, Any]:
        self.jobs.append([file.path for file in files])
        if len(self.jobs) - 1 == self.vanishes_at:
            raise DeviceError("ssh:pi: connection lost")
        return self.record(
            [{"cpu_min_s": 1.0 if "whole" in f.path else int(f.path.split()[1]) * 1e-6} for f in files]
        )

    def record(self, turns: list[dict[str, float]]) -> dict[str, Any]:
        return {"environment": self.host, "runtime": {"name": "ONNX Runtime", "version": "1"}, "turns": turns}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bench(monkeypatch)


@pytest.fixture
def spec(tmp_path: Path) -> WidthTableSpec:
    torch.manual_seed(0)
    net, example = Net().eval(), (torch.zeros(1, 1, 4, 4),)
    task = Task(name="net", model=net, example_inputs=example, metric=metric)
    programs.save(export(net, example), tmp_path / "net.pt2")
    float32 = Recipe(name="float32", precision="float32", steps=())
    return WidthTableSpec(
        candidate=Candidate(program=str(tmp_path / "net.pt2"), recipe=float32),
        step=Step(technique="prune", options={"scope": "latency", "speedup": 1.5}),
        source=pickle_task(task, tmp_path / "task.pkl"),
        target=load_target("x86-server"),
        isa="avx2",
        precision="float32",
        device="local",
        machine={},
        work=str(tmp_path),
    )


def table_of(spec: WidthTableSpec) -> WidthTable:
    """Both stages, as a run has them."""
    return stage.width_table(msgspec.structs.replace(spec, files=stage.width_files(spec)))


def test_each_row_is_one_job_of_all_its_widths(bench: Bench, spec: WidthTableSpec) -> None:
    table = table_of(spec)
    assert [job[0].split()[0] for job in bench.jobs] == ["whole", *["micro"] * (len(bench.jobs) - 1)]
    assert table.base_s == table.float_s == 1.0
    assert table.entries == sum(len(row.widths) for row in table.rows) > 0
    assert {row.widths[-1] for row in table.rows} == {2, 8, 16, 32}
    for row in table.rows:
        assert list(row.cpu_s) == sorted(row.cpu_s)  # more channels, more numbers
    assert table.conditions["CPU"] == "a CPU" and table.conditions["precision"] == "float32"


def test_what_was_measured_once_is_not_measured_again(bench: Bench, spec: WidthTableSpec) -> None:
    first = table_of(spec)
    jobs = len(bench.jobs)
    second = table_of(spec)
    assert len(bench.jobs) == jobs + 1  # the whole network alone
    assert second.entries == 0 and second.rows == first.rows


def test_another_cpu_is_measured_anew(bench: Bench, spec: WidthTableSpec) -> None:
    first = table_of(spec)
    bench.host["cpu_model"] = "another"
    assert table_of(spec).entries == first.entries
    assert len(list(cache_folder(TABLES).iterdir())) == 2


@pytest.mark.parametrize("row", [1, 2, 3])
def test_a_device_that_vanishes_costs_the_row_it_was_at(bench: Bench, spec: WidthTableSpec, row: int) -> None:
    bench.vanishes_at = row
    with pytest.raises(DeviceError, match="connection lost"):
        table_of(spec)
    bench.vanishes_at = -1
    lost = bench.jobs[row]
    before = len(bench.jobs)
    table = table_of(spec)
    assert bench.jobs[before + 1] == lost  # goes on where it was
    measured = bench.jobs[1:row] + bench.jobs[before + 1 :]
    assert len(measured) == len(table.rows) == len({tuple(job) for job in measured})


def test_a_machine_of_another_target_gives_the_reason_and_measures_nothing(
    bench: Bench, spec: WidthTableSpec
) -> None:
    bench.host["machine"] = "aarch64"
    files = stage.width_files(spec)
    assert files.rows == () and bench.written == ["whole float32"]
    assert files.reason == "local is a aarch64 avx2, not one of the machines of x86-server"


def test_integers_are_measured_beside_the_float_file(bench: Bench, spec: WidthTableSpec) -> None:
    table = table_of(msgspec.structs.replace(spec, precision="int8"))
    assert bench.jobs[0] == ["whole int8", "whole float32"]
    assert "weight_bits=7" in table.conditions["integers"]


def test_the_pruned_network_is_timed_beside_the_whole_one(bench: Bench, spec: WidthTableSpec) -> None:
    files = stage.width_files(spec)
    found = stage.plan_time(msgspec.structs.replace(spec, files=files, pruned=spec.candidate))
    assert (found.pruned_s, found.base_s) == (1.0, 1.0)
    assert bench.jobs == [["whole float32", "whole float32"]]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_real_row(
    spec: WidthTableSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Two widths of one micro-model, by the exporter and the runner."""
    from edgekit.prune.latency.micro import Extent, Layer, Micro

    layer = Layer(nn.Conv2d(16, 64, 3, padding=1), Extent(16), Extent(64, 64))
    micro = Micro(
        width=64,
        shape=(1, 16, 16, 16),
        result=(1, 64, 16, 16),
        channel=1,
        steps=(layer,),
        nodes=("a",),
        macs=(1,),
    )
    monkeypatch.setattr(stage, "ROUNDS", 5)
    spec = msgspec.structs.replace(spec, precision=precision)
    store = Store({}, tmp_path)
    files = WidthFiles(whole=(), conditions={}, rows=(stage._written(micro, [8, 64], spec, store),))
    with stage.timer("local") as times:
        (row,), entries = stage.measured(files, store, times)
    assert entries == 2 and store.row(micro.text, [8, 64]) == row
    assert row.widths == (8, 64)
    assert 0 < row.cpu_s[0] < row.cpu_s[1]
