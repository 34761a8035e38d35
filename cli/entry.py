"""Where the command line begins, and its errors and exit codes.

Nothing is imported here before it is needed: a token among the words is out of sight first, and
``ampacity --version`` is there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .. import __version__
from .secrecy import without_token


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the answer is the exit code."""
    words = without_token(sys.argv[1:]) if argv is None else list(argv)
    if words[:1] == ["--version"]:
        print(f"ampacity {__version__}")
        return 0
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    return _run(words)


def _run(words: list[str]) -> int:
    import click

    from .failures import Exit, exit_code, tell
    from .tree import tree

    try:
        if "_AMPACITY_COMPLETE" in os.environ:
            tree.main(words, prog_name="ampacity")
        # not ``tree.main``: it would turn a broken pipe into a failed job's exit code
        with tree.make_context("ampacity", words) as context:
            answer = tree.invoke(context)
        sys.stdout.flush()
        return int(answer or 0)
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.exceptions.NoArgsIsHelpError as e:
        print(e.format_message(), file=sys.stderr)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as e:  # noqa: BLE001  # the outermost place: every error gets its words
        if not _known(e):
            return _unforeseen()
        tell(e)
        return exit_code(e)


def _known(error: Exception) -> bool:
    import click

    from ..protocol.errors import AmpacityError

    return isinstance(error, AmpacityError | click.ClickException)


def _broken_pipe() -> int:
    """Who read our output went away: end quietly, and keep Python's own last flush quiet."""
    from .failures import Exit

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.BROKEN_PIPE


def _unforeseen() -> int:
    import traceback

    from ..protocol.redacting import redacted
    from .failures import Exit, say
    from .rendering import harmless_lines

    print(harmless_lines(redacted(traceback.format_exc())), end="", file=sys.stderr)
    say("this is a mistake in ampacity itself; please report it with the lines above")
    return Exit.OURSELVES


if __name__ == "__main__":
    sys.exit(main())
