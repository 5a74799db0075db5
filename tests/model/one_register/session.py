"""What a session does: backup, restore or compaction, one step at a time."""

from __future__ import annotations

from typing import TypeAlias

from tests.model.explore import lowest, replaced, union
from tests.model.one_register.state import (
    ABORTED,
    BACKUP_0_PACK,
    COMMITTED,
    DELETED,
    UNDECIDED,
    Restore,
    Rules,
    State,
    StepsOf,
    Unsettled,
    Writer,
    listed_tombs,
)

__all__ = ["first_writer", "session_steps"]

Steps: TypeAlias = list[tuple[str, State]]


def first_writer(rules: Rules) -> Writer:
    """Return a session that has done nothing yet."""
    lease_first = rules.has_leases and rules.lease_before_base and not rules.tombs_before_lease
    return Writer("lease" if lease_first else "tombs")


def session_steps(rules: Rules, state: State, index: int) -> Steps:
    """Return what the writer of an index may do next."""
    kind = BACKUP
    if index == rules.writer_count - 1:
        if rules.restore is not Restore.NONE:
            kind = RESTORE
        elif rules.compacts:
            kind = COMPACTION
    step = kind.get(state.writers[index].at)
    return step(rules, state, index) if step else []


def _with_writer(state: State, index: int, writer: Writer) -> State:
    return state._replace(writers=replaced(state.writers, index, writer))


def _put_lease(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    if rules.tombs_before_lease:
        after = "base"
    elif not rules.lease_before_base:
        after = "upload"
    else:
        after = "tombs" if rules.tombs_before_base else "base"
    unsettled = state.unsettled
    if rules.listings_lag:
        unsettled = unsettled._replace(leases=unsettled.leases | 1 << session)
    changed = state._replace(leases=state.leases | 1 << session, unsettled=unsettled)
    writer = state.writers[index]._replace(at=after)
    return [(f"W{session} put lease", _with_writer(changed, index, writer))]


def _read_tombs(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    known = state.writers[index].known
    tombs = listed_tombs(state) if rules.reads_tombs else 0
    if rules.tombs_before_lease:
        label = f"W{session} read tombs {tombs:b} before its lease"
        return [(label, _with_writer(state, index, Writer("lease", 0, tombs)))]
    if not rules.tombs_before_base:
        kept = known & ~tombs
        label = f"W{session} read tombs {tombs:b}, keeps {kept:b}"
        return [(label, _with_writer(state, index, Writer("upload", kept)))]
    return [(f"W{session} read tombs", _with_writer(state, index, Writer("base", 0, tombs)))]


def _plan(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    after = "upload"
    if rules.has_leases and not rules.lease_before_base:
        after = "lease"
    if not rules.tombs_before_base:
        after = "tombs"
    return [
        (
            f"W{session} plans to reuse packs {packs:b}",
            _with_writer(state, index, Writer(after, packs)),
        )
        for packs in sorted(_plans(rules, state, state.writers[index].seen))
    ]


def _plans(rules: Rules, state: State, seen: int) -> set[int]:
    """Return the sets of packs a session may reuse: of none, of one base, of all manifests."""
    if not rules.has_unique_names:
        return {BACKUP_0_PACK if state.packs & BACKUP_0_PACK & ~seen else 0}
    listed = [
        packs for session, packs in enumerate(state.references) if state.lists_manifest(session)
    ]
    plans = {0, union(listed) & ~seen} | {packs & ~seen for packs in listed}
    if rules.inherits_condemned:
        plans.update(listed)
    return plans


def _upload(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    known = state.writers[index].known
    if rules.has_unique_names:
        own = 1 << session
        packs, known = state.packs | own, known | own
    else:
        # Named by content, the pack is made again only when it was judged absent or condemned.
        packs = state.packs if known & BACKUP_0_PACK else state.packs | BACKUP_0_PACK
        known = BACKUP_0_PACK
    writer = Writer("commit" if rules.lease_until_commit else "unlease", known)
    return [(f"W{session} upload pack", _with_writer(state._replace(packs=packs), index, writer))]


def _commit(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    known = state.writers[index].known
    is_open = state.decisions[session] == UNDECIDED
    keeps_lease = rules.has_leases and rules.lease_until_commit
    last = Writer("unlease" if keeps_lease else "done")
    if not rules.is_fenced:
        after = _with_writer(_committed(rules, state, session, known), index, last)
        return [(f"W{session} commit (unfenced)", after)]
    if rules.checks_then_puts:
        if is_open:
            after = _with_writer(state, index, Writer("put", known))
            return [(f"W{session} checks: not aborted", after)]
        return [(f"W{session} sees ABORTED, gives up", _with_writer(state, index, last))]
    if is_open:
        after = _with_writer(_committed(rules, state, session, known), index, last)
        return [(f"W{session} commit manifest refs={known:b}", after)]
    return [(f"W{session} commit lost", _with_writer(state, index, last))]


def _put_unchecked(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    known = state.writers[index].known
    unfenced = state._replace(
        decisions=replaced(state.decisions, session, COMMITTED),
        references=replaced(state.references, session, known),
    )
    del rules
    label = f"W{session} put manifest after stale check"
    return [(label, _with_writer(unfenced, index, Writer("unlease")))]


def _committed(rules: Rules, state: State, session: int, known: int) -> State:
    unsettled = state.unsettled
    if rules.listings_lag:
        unsettled = unsettled._replace(manifests=unsettled.manifests | 1 << session)
    return state._replace(
        decisions=replaced(state.decisions, session, COMMITTED),
        references=replaced(state.references, session, known),
        unsettled=unsettled,
    )


def _remove_lease(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    bit = 1 << session
    known = state.writers[index].known
    unsettled = state.unsettled._replace(leases=state.unsettled.leases & ~bit)
    changed = state._replace(leases=state.leases & ~bit, unsettled=unsettled)
    writer = Writer("done") if rules.lease_until_commit else Writer("commit", known)
    return [(f"W{session} delete lease", _with_writer(changed, index, writer))]


def _restore_choose(rules: Rules, state: State, index: int) -> Steps:
    del rules
    session = index + 1
    seen = state.writers[index].seen
    return [
        (
            f"R{session} restores backup {other}, packs {packs:b}",
            _with_writer(state, index, Writer("read", packs, seen)),
        )
        for other, packs in enumerate(state.references)
        if state.decisions[other] == COMMITTED and other != session
    ]


def _restore_finish(rules: Rules, state: State, index: int) -> Steps:
    del rules
    session = index + 1
    changed = _aborted_if_open(state, session)
    return [(f"R{session} finishes", _with_writer(changed, index, Writer("unlease")))]


def _aborted_if_open(state: State, session: int) -> State:
    if state.decisions[session] != UNDECIDED:
        return state
    return state._replace(decisions=replaced(state.decisions, session, ABORTED))


def _compaction_choose(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    steps: Steps = []
    for other, packs in enumerate(state.references):
        if state.decisions[other] != COMMITTED or other == session:
            continue
        kept = packs & ~state.writers[index].seen if rules.compaction_obeys_tombs else packs
        for dropped in sorted({0, lowest(kept)}):
            writer = Writer("upload", kept & ~dropped, other)
            label = f"C{session} rewrites manifest {other}, keeps packs {kept & ~dropped:b}"
            steps.append((label, _with_writer(state, index, writer)))
    return steps


def _compaction_upload(rules: Rules, state: State, index: int) -> Steps:
    del rules
    session = index + 1
    _, known, other = state.writers[index]
    changed = state._replace(packs=state.packs | 1 << session)
    writer = Writer("commit", known | 1 << session, other)
    return [(f"C{session} upload pack", _with_writer(changed, index, writer))]


def _compaction_commit(rules: Rules, state: State, index: int) -> Steps:
    session = index + 1
    _, known, other = state.writers[index]
    last = Writer("unlease")
    if state.decisions[session] != UNDECIDED or state.decisions[other] != COMMITTED:
        lost = _with_writer(_aborted_if_open(state, session), index, last)
        return [(f"C{session} loses the version slot", lost)]
    unsettled = state.unsettled
    if rules.listings_lag:
        shown = (unsettled.manifests | 1 << session) & ~(1 << other)
        unsettled = Unsettled(unsettled.leases, shown, unsettled.tombs)
    won = state._replace(
        decisions=replaced(replaced(state.decisions, session, COMMITTED), other, DELETED),
        references=replaced(replaced(state.references, session, known), other, 0),
        unsettled=unsettled,
    )
    label = f"C{session} commits version n+1 of manifest {other}, refs={known:b}"
    return [(label, _with_writer(won, index, last))]


BACKUP: dict[str, StepsOf] = {
    "lease": _put_lease,
    "tombs": _read_tombs,
    "base": _plan,
    "upload": _upload,
    "commit": _commit,
    "put": _put_unchecked,
    "unlease": _remove_lease,
}
RESTORE: dict[str, StepsOf] = {**BACKUP, "base": _restore_choose, "read": _restore_finish}
COMPACTION: dict[str, StepsOf] = {
    **BACKUP,
    "base": _compaction_choose,
    "upload": _compaction_upload,
    "commit": _compaction_commit,
}
