"""The application: its commands, and what an exception becomes on the way out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import typer

import gainstage
from gainstage.cli import checking, knowledge, labs, mapping, mending, rates, sweeping, tour
from gainstage.errors import GainstageError

USAGE_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    name="gainstage",
    help="Find out why a PyTorch network does not train, mend it, and prove that it is mended.",
    epilog="TARGET is path/to/file.py:factory or package.module:factory; the factory returns a gainstage.Subject, "
    "a tuple (model, batches, loss, optimizer), or a model (then give --input-shape and --classes). Or it is "
    "torchvision:NAME, timm:NAME or transformers:CONFIG.json: that network with random weights, and a batch for it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"gainstage {gainstage.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Find out why a PyTorch network does not train, mend it, and prove that it is mended."""


app.command("tour")(tour.tour)
app.command("check")(checking.check)
app.command("init")(mending.init)
app.command("fix")(mending.fix)
app.command("lr")(rates.lr)
app.command("map")(mapping.map_)
app.add_typer(labs.app, name="lab")
app.add_typer(sweeping.app, name="sweep")
app.command("rules")(knowledge.rules)
app.command("explain", epilog=knowledge.EPILOG)(knowledge.explain)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        The exit status: 0, 1 for findings, 2 for a usage or input error, 130 when interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # It may stand anywhere: one adds it to the end of a command that failed.
    given = [argument for argument in given if argument != "--debug"]
    try:
        status = app(given, standalone_mode=False)
        if status == INTERRUPTED:  # what newer versions of typer make of an interrupt
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    except GainstageError as error:
        return _failed(str(error), debug=debug)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has had enough: nothing to say, and nobody to say it to
        return 0
    except Exception as error:
        # A usage error carries its own one-line text; typer keeps the class to itself.
        usage = getattr(error, "format_message", None)
        if usage is not None and hasattr(error, "exit_code"):
            return _failed(usage(), debug=debug)
        return _failed(
            f"{type(error).__name__}: {error}. This is a fault in gainstage: --debug shows where.", debug=debug
        )


def _failed(message: str, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    typer.echo("gainstage: " + " ".join(message.split()), err=True)
    return USAGE_ERROR
