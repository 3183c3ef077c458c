"""What two recipes would find of the same bytes is found once."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
from child_functions import Answer, Order

from edgekit.engine.catalogue import Stage
from edgekit.engine.events import Event
from edgekit.engine.stages import Stages
from edgekit.ladder.context import RecipeContext

ECHOES = Stage(name="verify", function="child_functions:echo", spec=Order, result=Answer)


def test_the_same_content_runs_one_stage_and_other_content_another(tmp_path: Path) -> None:
    events: list[Event] = []
    stages = Stages(tmp_path, 1, events.append)
    context = RecipeContext(SimpleNamespace(name="t"), None, None, None, stages)  # type: ignore[arg-type]
    one, other = Order(number=1.0), Order(number=2.0)
    for path, content in (("a", one), ("b", one), ("c", other)):
        spec = msgspec.structs.replace(content, text=path)
        context.run_once(ECHOES, lambda _folder, spec=spec: spec, content)
    assert [time.stage for time in context.times] == ["verify", "verify"]
    assert [event.message for event in events if event.state == "note"] == [
        "verify: the bytes are those of an earlier file, what was found of it holds"
    ]
