from __future__ import annotations

from tests.cli.conftest import Place


def test_with_dedup_domain_a_clone_stores_nothing(place: Place) -> None:
    place.json("backup", "disk.img", "--dedup", "domain")
    (place.folder / "clone.img").write_bytes(place.disk.read_bytes())
    assert place.json("backup", "clone.img", "--dedup", "domain")["new_bytes"] == 0


def test_by_default_a_clone_is_stored_anew(place: Place) -> None:
    place.json("backup", "disk.img")
    (place.folder / "clone.img").write_bytes(place.disk.read_bytes())
    assert place.json("backup", "clone.img")["new_bytes"] > 0


def test_processes_that_share_an_index_store_nothing_twice(place: Place) -> None:
    place.json("backup", "disk.img")
    started = []
    for number in range(3):
        clone = place.folder / f"clone-{number}.img"
        clone.write_bytes(place.disk.read_bytes())
        started.append(place.start("backup", str(clone), "--dedup", "domain", "-q"))
    for process in started:
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (0, b"")
    listed = place.json("list")["backups"]
    assert [done["new_bytes"] for done in listed][1:] == [0, 0, 0]
    assert place.run("verify", "--depth", "data").exit_code == 0
