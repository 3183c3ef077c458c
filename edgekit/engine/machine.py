"""The host as reports name it."""

from edgekit_runner.host import environment


def machine_facts() -> dict[str, str]:
    """Returns CPU, instruction set, kernel and Python of this machine, as text."""
    facts = environment.describe()
    keys = ("machine", "cpu_model", "cpu_usable_count", "isa", "os", "python", "hypervisor")
    return {key: str(facts[key]) for key in keys}
