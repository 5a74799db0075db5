"""What the service refuses, in the words of the Block Storage API; a door adds the code.

ServiceError
├── Invalid       400: what was asked for does not fit the state of things
├── Denied        403: the policy says no
├── Missing       404: not there, or not this project's
├── OverQuota     413: the project has enough
└── NotReady      503: nobody is there to do it
"""

from __future__ import annotations

from backupcore.errors import Refused

__all__ = ["Denied", "Invalid", "Missing", "NotReady", "OverQuota", "ServiceError"]


class ServiceError(Refused):
    """Anything the service refuses; the message is meant for the caller."""


class Invalid(ServiceError):
    """What was asked for cannot be done as things are."""


class Denied(ServiceError):
    """The caller's roles do not allow it."""


class Missing(ServiceError):
    """There is no such thing in what the caller may see."""


class OverQuota(ServiceError):
    """The project would have more than its quota."""


class NotReady(ServiceError):
    """What is needed for it does not run."""
