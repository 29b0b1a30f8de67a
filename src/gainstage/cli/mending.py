"""``gainstage init`` and ``gainstage fix``."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import gainstage as gs
from gainstage.cli import targets
from gainstage.cli.output import stderr, stdout
from gainstage.errors import InputError

# Read off the folder: the schemes themselves need torch, and --help should answer at once.
_FAMILIES = sorted(module.name for module in pkgutil.iter_modules([str(Path(gs.__path__[0], "schemes", "catalogue"))]))
_SCHEME = (
    "auto, auto_uniform, auto_truncated_normal, or one scheme for every layer, such as orthogonal or he_uniform. "
    f"Families: {', '.join(_FAMILIES)}; those of glorot, he and lecun end in _normal, _uniform or _truncated_normal."
)


def init(
    target: str = targets.TARGET,
    scheme: str = typer.Option("auto", "--scheme", help=_SCHEME),
    save: Path | None = typer.Option(None, "--save", help="Write the initialized weights to this .safetensors file."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the plan, and draw nothing."),
    seed: int = typer.Option(0, "--seed", help="Of the draws."),
    input_shape: str | None = targets.INPUT_SHAPE,
    classes: int | None = targets.CLASSES,
    batch_size: int | None = targets.BATCH_SIZE,
    weights: Path | None = targets.WEIGHTS,
) -> None:
    """Initialize a network for what follows each layer, and show what became of its levels."""
    if save is not None and dry_run:
        raise InputError("init: --save must come without --dry-run, got both. With --dry-run nothing is drawn.")
    if save is not None and (save.suffix != ".safetensors" or not save.parent.is_dir()):
        raise InputError(f"init: --save must name a .safetensors file in an existing folder, got {str(save)!r}.")
    subject = targets.load(target, input_shape, classes, batch_size, weights)
    from gainstage.schemes.report import level_table, plan_table  # late: these need torch

    if dry_run:
        from gainstage.schemes.initialize import planned

        stdout().print(plan_table(planned(subject, scheme)), markup=False, soft_wrap=True)
        return
    before = gs.schemes.predict(gs.record(subject, backward=False))
    report = gs.initialize(subject.model, subject.batches.first(), scheme=scheme, seed=seed)
    after = gs.schemes.predict(gs.record(subject, backward=False))
    lines = [level_table(report.rows, before, after), *report.closing()]
    stdout().print("\n".join(lines), markup=False, soft_wrap=True)
    if save is not None:
        from safetensors.torch import save_model  # late: it needs torch

        save_model(subject.model, str(save))
        stdout().print(f"\nwritten: {save}", markup=False)


def fix(
    target: str = targets.TARGET,
    verify: bool = typer.Option(False, "--verify", help="Try each fix, and all together, in a paired trial."),
    steps: int = typer.Option(200, "--steps", min=1, help="Optimizer steps of a trial."),
    seeds: int = typer.Option(3, "--seeds", min=2, help="Paired runs of a trial."),
    input_shape: str | None = targets.INPUT_SHAPE,
    classes: int | None = targets.CLASSES,
    batch_size: int | None = targets.BATCH_SIZE,
    weights: Path | None = targets.WEIGHTS,
) -> int:
    """Say which fixes there are, and with --verify what each did to the loss."""
    subject = targets.load(target, input_shape, classes, batch_size, weights)
    report = gs.check(subject, **targets.settings(target).check_options())
    fixes = report.fixes()
    console = stdout()
    if not fixes:
        console.print(
            "No problem found: nothing to fix." if report.ok else "Nothing here that gainstage can fix itself."
        )
        return 0
    sets = [(fix,) for fix in fixes] + ([fixes] if len(fixes) > 1 else [])
    for chosen in sets:
        name = " + ".join(fix.code for fix in chosen) if len(chosen) < len(fixes) or len(fixes) == 1 else "all together"
        console.print(f"[bold]{escape(name)}[/]  {escape('; '.join(fix.summary for fix in chosen))}")
        if verify:
            console.print("    " + escape(outcome(trial(subject, chosen, steps=steps, seeds=seeds))))
    if not verify:
        console.print(f"\nTry them: gainstage fix {target} --verify", style="dim", markup=False)
    return 0


def trial(subject: gs.Subject, fixes: tuple[gs.Fix, ...], *, steps: int, seeds: int) -> gs.Trial:
    """A paired trial with a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("paired trial", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return gs.verify(subject, fixes, steps=steps, seeds=seeds, on_progress=advance)


def outcome(trial: gs.Trial) -> str:
    """The trial in one sentence."""
    before, after = (sum(side) / len(trial.finals) for side in zip(*trial.finals, strict=True))
    verdict = "It helped" if trial.improved else "No proof that it helped"
    low, high = trial.interval
    return (
        f"{verdict}: after {trial.steps} steps of {trial.optimizer} the loss is {after:.3g} with and {before:.3g} "
        f"without; it is lower by {trial.effect:.3g} (95 % interval {low:.3g} to {high:.3g}, "
        f"{len(trial.before)} pairs)." + (f" {trial.note}" if trial.note else "")
    )
