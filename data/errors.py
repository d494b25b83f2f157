"""What goes wrong for a user, in one sentence; and how every script ends with it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something that the user can mend; the text is one sentence that says how."""


def run_script(main: Callable[[], None], interrupted: str = "Interrupted.") -> None:
    """Run a script; UserError and OSError end it with 1, Ctrl-C with 130, each in a sentence."""
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:  # a disk that is full, a place that cannot be written
        raise SystemExit(f"{error}: mend that, and run the same command again.") from None
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        raise SystemExit(130) from None
