"""Pruned networks as files of every target: does each still convert, and does the file compute what pruning left?

    python benchmarks/pruned_targets.py --work out/pruned --photos photos.tar --cifar folder/
    python benchmarks/pruned_targets.py --work out/pruned --only resnet18,lraspp_mobilenet_v3_large --targets coreml-fp16

Half of the multiply-accumulates go, by l2, the batch norms take their statistics anew, nothing is trained; then int8 by ptq, or float16
for Core ML. Each file is executed in its runtime on every sample of the task's metric, by the stages of `edgekit export`. torchvision's
nets are random but seeded (examples/torchvision_model.py, examples/segmentation.py), EfficientNet-Lite0 has its ImageNet weights and needs
--photos, CIFAR ResNets theirs and need --cifar, the folder of resnet20.safetensors, resnet56.safetensors, train.npz and test.npz.
"agreement" and "SNR" set the file beside the pruned float program. Finished stages stay in --work: the same command goes on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import result_file
from example import EXAMPLES
from recipes import Bench

from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError, UserError
from edgekit.profile.reading import load_target
from edgekit.records import Attempt, Record

TORCHVISION = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny", "vit_b_16",
)  # fmt: skip
SEGMENTATION, LITE0, CIFAR = "lraspp_mobilenet_v3_large", "efficientnet_lite0", ("resnet20", "resnet56")
NAMES = (*TORCHVISION, SEGMENTATION, LITE0, *CIFAR)
RECIPES = {
    "x86-server": "prune(macs={macs}) > ptq",
    "arm-mobile": "prune(macs={macs}) > ptq",
    "tflite-int8": "prune(macs={macs}) > ptq",
    "coreml-fp16": "prune(macs={macs}) > fp16",
}
RESULT = "pruned_targets.json"
HEAD = (
    "model",
    "target",
    "MACs left",
    "float",
    "pruned",
    "file",
    "agreement",
    "SNR dB",
    "n",
    "size / float",
    "note",
)


class Row(Record):
    """One file. float_metric, pruned: of the whole and the pruned program in torch; metric: of the file in its runtime. agreement,
    snr_db: beside the pruned program, on `samples` of its inputs. error: why there is no file."""

    model: str
    target: str
    float_metric: float = 0.0
    pruned: float = 0.0
    metric: float = 0.0
    macs: float = 0.0
    agreement: float | None = None
    snr_db: float | None = None
    samples: int = 0
    size_ratio: float = 0.0
    findings: tuple[str, ...] = ()
    error: str = ""


class Results(Record):
    macs: float
    rows: tuple[Row, ...] = ()


def source(name: str, photos: Path | None, cifar: Path | None) -> TaskSource:
    """The task of one net. Raises UserError where its data were not given."""
    if name in CIFAR:
        if cifar is None:
            raise UserError(f"{name} needs --cifar, a folder of weights and images")
        files = {"weights": f"{name}.safetensors", "train": "train.npz", "test": "test.npz"}
        return _source("cifar10", {key: str(cifar.resolve() / file) for key, file in files.items()})
    if name == LITE0:
        if photos is None:
            raise UserError(f"{name} needs --photos, see examples/imagenet.py")
        return _source("imagenet", {"photos": str(photos.resolve())})
    return _source("segmentation" if name == SEGMENTATION else "torchvision_model", {"model": name})


def _source(example: str, settings: dict[str, str]) -> TaskSource:
    return TaskSource(name=example, reference=f"{EXAMPLES / example}.py:task", settings=settings)


def row_of(model: str, target: str, attempt: Attempt, float_bytes: int) -> Row:
    verdict, artifact, candidate = attempt.verdict, attempt.artifact, attempt.candidate
    if verdict is None or artifact is None or candidate is None or verdict.program_parity is None:
        return Row(model=model, target=target, error=attempt.error or "no file")
    figures, own = {f.name: f.value for f in candidate.figures}, verdict.program_parity
    return Row(
        model=model,
        target=target,
        float_metric=verdict.float_metric,
        pruned=figures["metric pruned"],
        metric=verdict.metric,
        macs=figures["MACs kept"],
        agreement=own.agreement,
        snr_db=own.snr_db,
        samples=own.samples,
        size_ratio=artifact.size_bytes / float_bytes,
        findings=verdict.lint.findings,
    )


def cells(row: Row) -> list[str]:
    if row.error:
        return [row.model, row.target, *("-" for _ in HEAD[2:-1]), row.error]
    return [
        row.model,
        row.target,
        f"{row.macs:.2f}",
        *(f"{100 * metric:.1f}" for metric in (row.float_metric, row.pruned, row.metric)),
        "-" if row.agreement is None else f"{100 * row.agreement:.0f} %",
        "exact" if row.snr_db is None else f"{row.snr_db:.1f}",
        str(row.samples),
        f"{row.size_ratio:.3f}",
        "; ".join(row.findings),
    ]


def measured(asked: argparse.Namespace, names: Sequence[str], targets: Sequence[str]) -> tuple[Row, ...]:
    """The rows of the file and those that it lacks; a net that fails is a row with its sentence."""
    found = result_file.read(asked.work / RESULT, True, Results) or Results(macs=asked.macs)
    result_file.refuse_others(asked.work / RESULT, Results(macs=found.macs), Results(macs=asked.macs))
    rows = found.rows
    for name in names:
        left = [target for target in targets if (name, target) not in {(r.model, r.target) for r in rows}]
        if not left:
            continue
        given, work = source(name, asked.photos, asked.cifar), (asked.work / name).resolve()
        bench = Bench(given, load_target(left[0]), work, torch_only=False, max_drop=1.0)
        for target in left:
            attempt, baseline = bench.on(load_target(target)).climbed(
                RECIPES[target].format(macs=asked.macs), seed=0
            )
            rows = (*rows, row_of(name, target, attempt, baseline.size_bytes if baseline else 0))
            result_file.write(asked.work / RESULT, Results(macs=asked.macs, rows=rows))
            print("  ".join(cells(rows[-1])), file=sys.stderr, flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help=f"folder of finished stages and of {RESULT}")
    parser.add_argument("--only", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--targets", default=",".join(RECIPES), help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--photos", type=Path, help="a tar or folder of photos, see examples/imagenet.py")
    parser.add_argument("--cifar", type=Path, help="a folder of weights and images, see examples/cifar10.py")
    parser.add_argument("--macs", type=float, default=0.5, help="share to keep (default 0.5)")
    asked = parser.parse_args(argv)
    try:
        names = result_file.names("models", asked.only, NAMES)
        rows = measured(asked, names, result_file.names("targets", asked.targets, tuple(RECIPES)))
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([list(HEAD), *map(cells, rows)])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
