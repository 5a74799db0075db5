"""What the settings say to a provider: unknown options are refused by name, and so is no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from backupcore.errors import Refused

__all__ = ["check_options", "take_texts"]


def check_options(
    what: str,
    options: Mapping[str, object],
    *,
    needed: Sequence[str] = (),
    allowed: Sequence[str] = (),
) -> None:
    """Raise Refused naming the first option that is unknown, or else needed and missing.

    what: whose options they are, such as `provider local`, for the message.
    """
    known = sorted({*needed, *allowed})
    for key in options:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise Refused(f"{what}: unknown option {key!r}: {hint if known else 'it takes none'}")
    for key in needed:
        if key not in options:
            raise Refused(f"{what}: option {key!r} is missing: add it to the settings")


def take_texts(
    what: str,
    options: Mapping[str, object],
    *,
    needed: Sequence[str] = (),
    allowed: Sequence[str] = (),
) -> dict[str, str]:
    """Return the options, all of them texts. Raises: Refused as `check_options`, or for no text.

    Values are never shown: one may be a password.
    """
    check_options(what, options, needed=needed, allowed=allowed)
    texts: dict[str, str] = {}
    for key, value in options.items():
        if not isinstance(value, str) or not value or "\0" in value:
            kind = type(value).__name__
            raise Refused(f"{what}: option {key!r} is an empty or broken text or no text ({kind})")
        texts[key] = value
    return texts
