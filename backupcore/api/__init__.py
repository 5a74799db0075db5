"""The REST door: the Block Storage backups API, as a WSGI application.

access     who comes in           route     every call there is, and its rules
wire       what goes over it      resource  the calls
openapi    the calls as a document, and a page to read it
operator   what operators ask     server    the application behind a port
"""

from __future__ import annotations

from backupcore.api.application import OPEN_PATHS, Addition, create_app

__all__ = ["OPEN_PATHS", "Addition", "create_app"]
