"""What a device is: asked once before a run, so that it is known which targets it measures for."""

import json
from contextlib import closing

from edgekit.device import open_device, zipapp
from edgekit.device.run import stage
from edgekit.device.scratch import Scratch
from edgekit.errors import DeviceError, MissingRuntime
from edgekit.records import DeviceFacts


def ask(name: str) -> DeviceFacts:
    """Asks a device for its architecture and instruction set; one that does not answer says why in `error`.

    Raises:
        UserError: `name` is not written as a device is.
    """
    try:
        with Scratch() as folder, closing(open_device(name)) as device:
            program = stage(device, runner := zipapp.build(folder), runner.name)
            done = device.execute([device.python, program, "info", "--json"])
    except (DeviceError, MissingRuntime) as error:
        return DeviceFacts(name=name, error=str(error))
    try:
        host = json.loads(done.stdout.strip().splitlines()[-1])["environment"]
        return DeviceFacts(
            name=name, arch=str(host["machine"]), isa=str(host["isa"]), emulated=str(host["emulated"])
        )
    except (ValueError, LookupError, TypeError):
        return DeviceFacts(name=name, error=f"{name}: the runner there does not say what machine it is")
