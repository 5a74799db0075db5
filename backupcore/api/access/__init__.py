"""Who comes in: what a request proves of its caller, by the kind that was configured.

none      anybody on this machine; the token says `user:project` (`believing`)
tokens    a file of hashed tokens, each bound to a project (`token`)
keystone  what keystonemiddleware, which stands before the app, found to be true
"""

from __future__ import annotations

from backupcore.api.access.believing import LegacyAnswer, OpenAccess
from backupcore.api.access.identity import Access, Identity, unauthorized
from backupcore.api.access.keystone import KeystoneAccess, check_keystone, with_keystone
from backupcore.api.access.token import TokenAccess, add_token, hash_token

__all__ = [
    "Access",
    "Identity",
    "KeystoneAccess",
    "LegacyAnswer",
    "OpenAccess",
    "TokenAccess",
    "add_token",
    "check_keystone",
    "hash_token",
    "unauthorized",
    "with_keystone",
]
