"""The CPUs that are emulated, as the runner sees them, and which of them serve a level."""

import pytest
from edgekit_runner.host import isa

from edgekit.arm.cpus import CPUS, Cpu, cpu_of, cpuinfo, serving
from edgekit.errors import UserError


@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.name)
def test_the_runner_reads_the_level_off_the_description(cpu: Cpu) -> None:
    lines = dict(line.split("\t: ") for line in cpuinfo(cpu).splitlines())
    flags = isa.isa_flags({key.lower(): value for key, value in lines.items()}, "aarch64")
    assert isa.isa_class(flags, "aarch64") == cpu.level
    assert "qemu" in lines["Hardware"]


def test_a_level_is_served_by_its_cpu_and_by_better_ones() -> None:
    assert [cpu.name for cpu in serving("arm-neon")] == ["cortex-a72", "cortex-a76"]
    assert [cpu.name for cpu in serving("arm-dotprod")] == ["cortex-a76"]
    assert [cpu.name for cpu in serving("arm-i8mm")] == ["cortex-a76"]  # the best that is emulated


def test_another_cpu_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(
        UserError, match="'cortex-x4' is no CPU that is emulated; allowed: cortex-a72, cortex-a76"
    ):
        cpu_of("cortex-x4")
