"""What goes wrong for a user, in one sentence; and how every script ends with it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something that the user can mend; the text is one sentence that says how."""


def run_script(main: Callable[[], None], interrupted: str = "Interrupted.") -> None:
    """Run a script's `main`; what the user can mend or has stopped ends in a sentence.

    Args:
        main: the script.
        interrupted: the sentence after Ctrl-C.

    Raises:
        SystemExit: with status 1 after a `UserError`, 130 after Ctrl-C.
    """
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        raise SystemExit(130) from None
