"""The SQLite ledger: the contract of stores, and what is its own."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nontax import reconciliation
from nontax.delivery.contract import Harness, StoreContract, content
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Key, Known, Refused, Store
from nontax.errors import LedgerError
from nontax.ledger import Ledger, marks, places, schema, upkeep
from nontax.ledger import owner as owner_module
from nontax.ledger.owner import Owner

# Bytes between two that are flipped; `make crash` flips more of them.
FLIP_EVERY = int(os.environ.get("FLIP_EVERY", "2503"))
INSERTED = Answer("inserted", code="C1", openid="o1")


class LedgerHarness:
    """Owners of one file in one process: each has its own run, lock and mark."""

    proves = True
    refused: type[Exception] = sqlite3.IntegrityError

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledgers: list[Ledger] = []

    def open(self) -> Store:
        self.ledgers.append(Ledger(self.path))
        return self.ledgers[-1]

    def kill(self, store: Store) -> None:
        """The lock goes, and everything stays as it was."""
        assert isinstance(store, Ledger)
        owner = store._owner
        writer, owner._writer = owner._writer, None
        assert writer is not None
        assert owner.file is not None
        writer.close()
        owner.file.forget()
        owner.file, owner.run = None, 0

    def put_attempt(self, key: Key, slot: object, signed: object) -> None:
        connection = self.connect()
        try:
            (bill,) = connection.execute(
                "SELECT id FROM bill WHERE order_id = ?", (key.order_id,)
            ).fetchone()
            connection.execute(
                "INSERT INTO attempt (bill, number, run, slot, signed, back_to, began) "
                "VALUES (?, 99, 1, ?, ?, 2, 0)",
                (bill, slot, signed),
            )
        finally:
            connection.close()

    def connect(self) -> sqlite3.Connection:
        return places.connect(str(self.path))


class TestLedger(StoreContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        harness = LedgerHarness(tmp_path / "bills.db")
        yield harness
        for ledger in harness.ledgers:
            ledger.close()


class OracleConnection(sqlite3.Connection):
    """As Oracle, openGauss and their like have it: '' is NULL, in values and in statements."""

    def execute(self, sql, parameters=()):  # type: ignore[no-untyped-def]
        return super().execute(self._told(sql), self._values(parameters))

    def executemany(self, sql, rows):  # type: ignore[no-untyped-def]
        return super().executemany(self._told(sql), [self._values(row) for row in rows])

    @staticmethod
    def _told(sql: str) -> str:
        return re.sub(r"''", "NULL", sql)

    @staticmethod
    def _values(values: Iterable[object]) -> tuple[object, ...]:
        return tuple(None if value == "" else value for value in values)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger on such a database: a text that may be empty may be NULL there."""
    script = schema.MIGRATIONS[1].replace("TEXT NOT NULL DEFAULT ''", "TEXT")
    monkeypatch.setitem(schema.MIGRATIONS, 1, script)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **named: connect(*args, factory=OracleConnection, **named)
    )


@pytest.mark.usefixtures("oracle")
class TestOracleRules(StoreContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        harness = LedgerHarness(tmp_path / "bills.db")
        yield harness
        for ledger in harness.ledgers:
            ledger.close()

    def test_empty_texts_are_null_here(self, harness: Harness) -> None:
        """The imitation works: else this class would show nothing."""
        harness.open().hand_in([content(title="")])
        assert isinstance(harness, LedgerHarness)
        with harness.connect() as connection:
            rows = connection.execute("SELECT count(*) FROM bill WHERE title IS NULL").fetchone()
        connection.close()
        assert rows == (1,)


# The file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bills.db"


def _reserve(ledger: Ledger, *orders: str, hand_over: int = 99) -> list[Claim]:
    ledger.hand_in([content(order) for order in orders])
    claims = ledger.reserve(len(orders)).claims
    ledger.handed_over(claims[:hand_over])
    return claims


def test_all_files_are_the_owners_alone_and_go_with_the_run(path: Path) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
        names = {file.name for file in path.parent.iterdir()}
        assert names == {
            "bills.db", "bills.db-wal", "bills.db-shm", "bills.db-spool", "bills.db-highwater",
            "bills.db-run-1",
        }  # fmt: skip
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file
    left = {file.name for file in path.parent.iterdir()}
    assert left == {"bills.db", "bills.db-spool", "bills.db-highwater"}
    (run,) = ledger.runs()
    assert (run.pid, run.end_reason) == (os.getpid(), "closed")
    assert run.ended > 0


def test_a_program_that_writes_nothing_has_no_run(path: Path) -> None:
    with Ledger(path) as ledger:
        assert list(ledger.bills()) == []
        assert ledger.run == 0
    assert ledger.runs() == []


def test_a_closed_ledger_can_be_used_again(path: Path) -> None:
    ledger = Ledger(path)
    for expected in (1, 2):
        ledger.hand_in([content(f"A{expected}")])
        assert ledger.run == expected
        ledger.close()
    assert ledger.counts() == {"waiting": 2}


def test_only_a_ledger_that_is_told_to_makes_a_file(path: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="there is no ledger"):
            Ledger(path, read_only=read_only, create=False)
    assert list(path.parent.iterdir()) == []


def test_read_only_never_writes(path: Path) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
    before = path.read_bytes()
    reader = Ledger(path, read_only=True)
    assert reader.counts() == {"in_doubt": 1}
    assert [bill.order_id for bill in reader.bills("in_doubt")] == ["A1"]
    with pytest.raises(LedgerError, match="read-only"):
        reader.hand_in([content()])
    assert path.read_bytes() == before


def _mountinfo(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "mountinfo"
    file.write_text("\n".join(lines))
    return str(file)


def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    table = _mountinfo(
        tmp_path,
        "1 1 0:1 / / rw - ext4 /dev/sda1 rw",
        f"2 1 0:2 / {tmp_path} rw shared:1 - nfs4 nas:/export rw",
        "3 1 0:3 / /mnt/c rw - 9p drvfs rw",
        r"4 1 0:4 / /mnt/the\040bureau rw - cifs //nas/x rw",
        "5 1 0:5 / /mnt/local rw - xfs /dev/sdb rw",
    )
    places.check_place("/bills.db", table)
    assert places.file_system_of("/mnt/local/x", table) == "xfs"
    assert places.file_system_of("/mnt/locality", table) == "ext4"
    assert places.file_system_of("/mnt/the bureau/x", table) == "cifs"
    assert places.file_system_of("/mnt/c/Users", table) == "9p"
    with pytest.raises(LedgerError, match=r"network.*nfs4.*local disk"):
        places.check_place(f"{tmp_path}/bills.db", table)


def test_what_is_no_ledger_is_refused(path: Path) -> None:
    with pytest.raises(LedgerError, match="no folder"):
        Ledger(path / "x.db")
    path.write_bytes(b"")
    path.chmod(0o600)
    with pytest.raises(LedgerError, match="no ledger, or it is damaged"):
        Ledger(path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="another program"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_that_others_may_read_is_refused(path: Path) -> None:
    Ledger(path)
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="chmod 600"):
        Ledger(path)
    with pytest.raises(LedgerError, match="chmod 600"):
        Ledger(path, read_only=True)


def test_a_newer_ledger_is_refused(path: Path) -> None:
    Ledger(path)
    connection = places.connect(str(path))
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(LedgerError, match=r"newer nontax \(version 2"):
        Ledger(path)


def test_old_sqlites() -> None:
    places.check_sqlite((3, 26, 0))
    with pytest.raises(LedgerError, match=r"3\.26 or newer; this Python has 3\.25\.9"):
        places.check_sqlite((3, 25, 9))
    safe = ((3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0))
    assert not any(places.has_wal_reset_bug(version) for version in safe)
    bad = ((3, 26, 0), (3, 40, 1), (3, 44, 5), (3, 45, 9), (3, 50, 6), (3, 51, 2))
    assert all(places.has_wal_reset_bug(version) for version in bad)


def test_a_ledger_belongs_to_one_server(path: Path) -> None:
    ledger = Ledger(path)
    ledger.use_server("http://127.0.0.1:8080")
    ledger.hand_in([content()])
    ledger.close()
    assert ledger.server == "http://127.0.0.1:8080"
    other = Ledger(path)
    with pytest.raises(LedgerError, match=r"is of http://127\.0\.0\.1:8080.*sends to WeChat"):
        other.use_server("weixin")
    # Two processes that begin at the same moment: the run's transaction decides.
    other._owner.server = "weixin"
    with pytest.raises(LedgerError, match="another ledger"):
        other.hand_in([content("A2")])
    assert ledger.counts() == {"waiting": 1}


def test_a_flipped_page_never_makes_a_known_bill_new(path: Path) -> None:
    """Whatever is damaged: a bill that was sent is never sent again, because it is not found."""
    bills = [content(f"A{n}") for n in range(60)]
    with Ledger(path) as ledger:
        ledger.hand_in(bills)
        claims = ledger.reserve(200).claims
        ledger.settle([(claim, INSERTED._replace(code=f"C{n}")) for n, claim in enumerate(claims)])
    whole = path.read_bytes()
    spots = range(100, len(whole), FLIP_EVERY)
    assert len(spots) > 30
    found = 0
    for checked in (places.CHECKED_SIZE, 0):  # a large ledger is not checked as a whole
        for spot in spots[:: 1 if checked else 4]:
            path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 0x55]) + whole[spot + 1 :])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(places, "CHECKED_SIZE", checked)
                try:
                    with Ledger(path) as ledger:
                        answers = ledger.open_attempts(bills)
                    assert not any(isinstance(answer, Claim) for answer in answers), spot
                except LedgerError:
                    found += 1
            for name in ("-wal", "-shm"):
                Path(f"{path}{name}").unlink(missing_ok=True)
    assert found > 10


# Runs


def test_the_mark_is_the_highest_that_was_handed_over(path: Path) -> None:
    """Threads hand over in any order; what was below the mark is in doubt."""
    harness = LedgerHarness(path)
    owner = Ledger(path)
    claims = _reserve(owner, "A1", "A2", "A3", "A4", hand_over=0)
    owner.handed_over([claims[2]])
    owner.handed_over([claims[0]])
    harness.kill(owner)
    with Ledger(path) as other:
        other.expire()
        assert [bill.state for bill in other.bills()] == [
            "in_doubt", "in_doubt", "in_doubt", "waiting",
        ]  # fmt: skip


@pytest.mark.parametrize("loss", ["boot", "file", "short"])
def test_without_a_mark_all_may_have_gone_out(
    path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = LedgerHarness(path)
    owner = Ledger(path)
    _reserve(owner, "A1", "A2", hand_over=1)
    harness.kill(owner)
    file = Path(f"{path}-run-1")
    if loss == "boot":  # the machine has lost what was not synced
        monkeypatch.setattr(marks, "boot_id", lambda: "another")
    elif loss == "file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20])
    with Ledger(path) as other:
        other.expire()
        assert other.counts() == {"in_doubt": 2}
    assert not file.exists()


def test_a_living_run_is_left_alone(path: Path) -> None:
    owner = Ledger(path)
    claims = _reserve(owner, "A1")
    with Ledger(path) as other:
        assert other.expire() == []
        assert other.counts() == {"sending": 1}
    owner.settle([(claims[0], INSERTED)])
    owner.close()
    assert owner.counts() == {"inserted": 1}


def test_an_owner_whose_begin_fails_leaves_no_file(path: Path) -> None:
    Ledger(path)
    Path(f"{path}-spool").mkdir()
    ledger = Ledger(path)
    with pytest.raises(LedgerError):
        ledger.hand_in([content()])
    assert not list(path.parent.glob("*-run-*"))


@pytest.mark.parametrize("shift", [-86_400, 10 * 365 * 86_400])
def test_the_clock_decides_nothing(path: Path, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    harness = LedgerHarness(path)
    owner = Ledger(path)
    _reserve(owner, "A1", "A2", hand_over=1)
    monkeypatch.setattr("nontax.ledger.books.time", lambda: now() + shift)
    with Ledger(path) as other:
        assert other.expire() == []
        harness.kill(owner)
        assert other.expire() == [content("A1").key]
        assert other.counts() == {"in_doubt": 1, "waiting": 1}


# Answers that the disk does not take


def _fill(ledger: Ledger) -> None:
    """From now on SQLite finds its disk full."""

    def full(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    ledger._owner.write(full)


def test_an_answer_goes_into_the_spool_and_comes_back(path: Path) -> None:
    harness = LedgerHarness(path)
    ledger = Ledger(path)
    claims = _reserve(ledger, "A1", "A2", "A3")
    with pytest.MonkeyPatch.context() as patch:

        def no_room(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(owner_module, "settle", no_room)
        assert ledger.close_attempts(
            [(claims[0], INSERTED), (claims[1], Answer("rejected", 40073, "no"))]
        ) == [True, True]
    assert ledger.counts() == {"sending": 3}
    assert Path(f"{path}-spool").stat().st_mode & 0o777 == 0o600
    harness.kill(ledger)
    with Ledger(path) as other:
        other.expire()
        assert other.counts() == {"inserted": 1, "rejected": 1, "in_doubt": 1}
        known = other.look(claims[0].key)
        assert known is not None
        assert (known.code, known.openid) == ("C1", "o1")
        assert other._owner.spool.is_empty()


def test_the_same_process_reads_the_spool_back_when_there_is_room(path: Path) -> None:
    with Ledger(path) as ledger:
        claims = _reserve(ledger, "A1")
        ledger._owner.spool_answers([(claims[0], INSERTED)], LedgerError(reason="full"))
        ledger.hand_in([content("A2")])
        assert ledger.counts() == {"inserted": 1, "waiting": 1}


def test_neither_ledger_nor_spool_is_a_ledger_error(path: Path) -> None:
    ledger = Ledger(path)
    claims = _reserve(ledger, "A1")
    Path(f"{path}-spool").unlink()
    with pytest.raises(LedgerError, match=r"full; and the spool takes no answers"):
        ledger._owner.spool_answers([(claims[0], INSERTED)], LedgerError(reason="full"))
    ledger.close()


def test_a_full_disk_is_told_in_words(path: Path) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
        _fill(ledger)
        with pytest.raises(LedgerError, match="the disk is full: free some space"):
            ledger.hand_in([content(f"B{n}") for n in range(2000)])
        assert ledger.counts() == {"sending": 1}


# Events


class Event:
    def __init__(self, key: str, **fields: object) -> None:
        self.key = key
        self.from_user = "o1"
        self.__dict__.update(fields)


def _status(key: str, code: str, card_id: str = "pCard") -> Event:
    return Event(key, card_id=card_id, code=code, status="INVOICE_REIMBURSE_LOCK")


def test_an_event_is_kept_once(path: Path) -> None:
    with Ledger(path) as ledger:
        (claim,) = _reserve(ledger, "A1")
        ledger.settle([(claim, Answer("in_doubt", reason="timeout"))])
        assert ledger.take_event(_status("k1", "C7")) == claim.key
        assert ledger.take_event(_status("k1", "C7")) is None
        history = ledger.history("A1")
        assert (history.bill.state, history.bill.code) == ("inserted", "C7")
        assert [row.kind for row in history.evidence] == ["event"]


def test_an_event_that_comes_before_the_doubt(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.take_event(_status("k0", "C0")) is None  # of a bill from before
        (claim,) = _reserve(ledger, "A1")
        assert ledger.take_event(_status("k1", "C7")) is None
        (settled,) = ledger.settle([(claim, Answer("in_doubt", reason="timeout"))])
        assert settled.state == "inserted"
        assert ledger.history("A1").bill.code == "C7"


def test_an_authorisation_sends_what_was_refused_for_want_of_one(path: Path) -> None:
    with Ledger(path) as ledger:
        for order, code in (("A1", 72038), ("A2", 40073)):
            (claim,) = _reserve(ledger, order)
            ledger.settle([(claim, Answer("rejected", code))])
        for order in ("A1", "A2"):
            ledger.take_event(Event(f"k{order}", order_id=order, succeeded=True))
        assert ledger.counts() == {"waiting": 1, "rejected": 1}
        ledger.take_event(Event("failed", order_id="A1", succeeded=False))
        assert ledger.counts() == {"waiting": 1, "rejected": 1}


# Copies, names, other systems


def test_the_restore_drill(path: Path, tmp_path: Path) -> None:
    """A day is sent, a backup is taken, more is sent, the disk dies, the backup is put back."""
    nas = tmp_path / "nas"
    nas.mkdir()
    ledger = Ledger(path)
    first, second, third, fifth = _reserve(ledger, "A1", "A2", "A3", "A5")
    ledger.settle([(first, INSERTED), (third, Answer("rejected", 40073))])
    ledger.settle([(fifth, Answer("rejected", 72035))])
    ledger.hand_in([content("A4"), content("A6")])
    ledger.withdraw(content("A6").key, by="王", note="issued again")
    ledger.backup(nas / "bills.backup")
    with pytest.raises(LedgerError, match="overwrites nothing"):
        ledger.backup(nas / "bills.backup")
    assert (nas / "bills.backup").stat().st_mode & 0o777 == 0o600
    ledger.settle([(second, INSERTED._replace(code="C2"))])
    (again,) = _reserve(ledger, "A3")
    ledger.settle([(again, INSERTED._replace(code="C3"))])
    ledger.close()
    for file in path.parent.glob("bills.db*"):
        file.unlink()

    upkeep.restore(str(nas / "bills.backup"), str(path))
    restored = Ledger(path)
    assert restored.counts() == {
        "inserted": 1, "sending": 1, "rejected": 2, "waiting": 1, "withdrawn": 1
    }  # fmt: skip
    with pytest.raises(LedgerError, match="accept-restored"):
        restored.hand_in([content("A1")])
    with pytest.raises(ValueError, match="who accepts"):
        upkeep.accept_restored(str(path), by="", note="")
    assert upkeep.accept_restored(str(path), by="王", note="disk died") == 4
    # The one whose order was rejected for good cannot have been sent since.
    assert restored.counts() == {"inserted": 1, "rejected": 1, "in_doubt": 4}
    assert restored.verify() == []
    answers = restored.hand_in([content(f"A{number}") for number in range(1, 7)])
    assert [answer.state for answer in answers if isinstance(answer, Known)] == [
        "inserted", "in_doubt", "in_doubt", "in_doubt", "rejected", "in_doubt",
    ]  # fmt: skip
    assert restored.reserve(9).claims == []
    with pytest.raises(sqlite3.IntegrityError):
        LedgerHarness(path).put_attempt(content("A4").key, 0, 0)
    restored.settle([(restored.resend(content("A4").key, by="王"), Answer("rejected", 72056))])
    assert restored.counts() == {"inserted": 2, "rejected": 1, "in_doubt": 3}
    restored.close()


def test_an_older_copy_put_back_is_read_only(path: Path) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
    old = path.read_bytes()
    with Ledger(path) as ledger:
        _reserve(ledger, "A2")
    path.write_bytes(old)
    ledger = Ledger(path)
    with pytest.raises(LedgerError, match="restored from a backup"):
        ledger.hand_in([content("A2")])
    upkeep.accept_restored(str(path), by="王", note="copied back")
    ledger.hand_in([content("A2")])
    ledger.close()
    # Another ledger in the same place begins anew.
    path.unlink()
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")


def test_verify_finds_what_cannot_be(path: Path) -> None:
    with Ledger(path) as ledger:
        claims = _reserve(ledger, "A1", "A2")
        ledger.settle([(claims[0], INSERTED), (claims[1], Answer("in_doubt"))])
    assert ledger.verify() == []
    connection = places.connect(str(path))
    connection.execute("UPDATE attempt SET slot = -2 WHERE id = 2")
    connection.execute("UPDATE bill SET code = '' WHERE id = 1")
    connection.close()
    problems = " ".join(ledger.verify())
    assert "holds its first slot" in problems
    assert "has its code" in problems


def test_nothing_is_deleted_and_evidence_stays(path: Path) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
    ledger.expire()
    ledger.resolve("A1", "inserted", by="王", note="seen")
    ledger.close()
    connection = places.connect(str(path))
    for sql in ("DELETE FROM bill", "DELETE FROM attempt", "DELETE FROM evidence",
                "UPDATE evidence SET note = 'x'"):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(sql)
    connection.close()


def test_prune_forgets_names_and_nothing_else(path: Path) -> None:
    with Ledger(path) as ledger:
        claims = _reserve(ledger, "A1", "A2")
        ledger.settle([(claims[0], INSERTED), (claims[1], Answer("in_doubt"))])
        assert ledger.prune(before=1) == 0
        assert ledger.prune(before=1 << 60) == 1
        bill = ledger.history("A1").bill
        assert (bill.title, bill.openid, bill.code, bill.pruned) == ("", "", "C1", True)
        assert ledger.history("A2").bill.title == "张三"
        # What was removed is not compared; all else is.
        (known,) = ledger.hand_in([content("A1")])
        assert isinstance(known, Known)
        (refused,) = ledger.hand_in([content("A1", fee=9)])
        assert isinstance(refused, Refused)


def test_bills_from_before(path: Path) -> None:
    old: dict[str, object] = {
        "appid": content("A1").appid, "order_id": "A1", "card_id": "pCard", "code": "C1",
        "billing_no": content("A1").billing_no, "billing_code": content("A1").billing_code,
    }  # fmt: skip
    with Ledger(path) as ledger:
        with pytest.raises(ValueError, match="who imports"):
            ledger.import_bills([old], by="", note="")
        assert ledger.import_bills([old], by="王", note="old system") == 1
        assert ledger.import_bills([old], by="王", note="old system") == 0
        assert ledger.import_bills([old | {"code": ""}], by="王", note="old system") == 0
        with pytest.raises(LedgerError, match="A1 is known"):
            ledger.import_bills([old | {"code": "C2"}], by="王", note="old system")
        (known,) = ledger.hand_in([content("A1")])
        assert isinstance(known, Known)
        assert (known.state, known.code) == ("inserted", "C1")
        (refused,) = ledger.hand_in([content("A1", billing_code="0000000009")])
        assert isinstance(refused, Refused)
        (refused,) = ledger.hand_in([content("B1", billing_code=old["billing_code"])])
        assert isinstance(refused, Refused)
        ledger.hand_in([content("A2")])
        with pytest.raises(LedgerError, match="A2 is known, as waiting"):
            ledger.import_bills([old | {"order_id": "A2"}], by="王", note="old")


def test_a_new_content_leaves_the_old_one_with_its_attempt(path: Path) -> None:
    with Ledger(path) as ledger:
        (claim,) = _reserve(ledger, "A1")
        ledger.settle([(claim, Answer("rejected", 40073))])
        (again,) = ledger.open_attempts([content("A1", fee=9)])
        assert isinstance(again, Claim)
        assert again.content.fee == 9
        history = ledger.history("A1")
        assert history.bill.fee == 9
        assert '"fee": 1200' in history.attempts[0].content
        assert history.attempts[1].content == ""


def test_the_same_order_twice_in_a_list(path: Path) -> None:
    with Ledger(path) as ledger:
        answers = ledger.hand_in([content("A1"), content("A1"), content("A1", fee=9)])
        assert ledger.counts() == {"waiting": 1}
        assert all(isinstance(answer, Known) for answer in answers)
        opened = ledger.open_attempts([content("B1"), content("B1"), content("B2")])
        assert [type(answer).__name__ for answer in opened] == ["Claim", "Known", "Claim"]
        clash = ledger.open_attempts(
            [content("D1", billing_code="1"), content("D2", billing_code="1")]
        )
        assert [type(answer).__name__ for answer in clash] == ["Claim", "Refused"]


def test_history_names_the_runs(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.describe_run(command="nontax insert", source="monday.xlsx", source_sha256="ab")
        ledger.hand_in([content("A1"), content("A2")], rows=[2, 3])
        history = ledger.history("A2")
    assert history.bill.source_row == 3
    (run,) = history.runs
    assert (run.command, run.source) == ("nontax insert", "monday.xlsx")
    with pytest.raises(LedgerError, match="does not know order Z"):
        ledger.history("Z")


def test_a_group_is_written_in_few_statements(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not bill by bill, which costs several times as much and comes to the same."""

    def one_by_one(*_: object) -> None:
        raise AssertionError("the common way does not fit")

    monkeypatch.setattr("nontax.ledger.attempts.settle_one", one_by_one)
    monkeypatch.setattr("nontax.ledger.attempts._open_direct", one_by_one)
    with Ledger(path) as ledger:
        claims = ledger.open_attempts([content(f"A{n}") for n in range(70)])
        answers = [(claim, INSERTED) for claim in claims if isinstance(claim, Claim)]
        assert len(answers) == 70
        ledger.close_attempts(answers)
        assert ledger.counts() == {"inserted": 70}


def test_a_dry_run_tells_the_answers_and_changes_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.hand_in([content("A1")])
        given = [content("A1", fee=9), content("A2"), content("B1", billing_code="0000000001")]
        before = list(ledger.bills())
        told = ledger.hand_in(given, dry_run=True)
        assert list(ledger.bills()) == before
        assert ledger.hand_in(given) == told


def test_what_a_text_on_paper_names(path: Path) -> None:
    with Ledger(path) as ledger:
        (claim,) = _reserve(ledger, "A1")
        ledger.settle([(claim, INSERTED)])
        ledger.hand_in([content("A2")])
        one = content("A1")
        for key in ("A1", one.billing_code, f"{one.billing_no}+{one.billing_code}", "C1"):
            assert [bill.order_id for bill in ledger.find(key)] == ["A1"], key
        for key in ("", "A3", f"1+{one.billing_code}", "C2", "+"):
            assert ledger.find(key) == [], key


def test_explanations_stay_with_the_bill(path: Path) -> None:
    class Difference(NamedTuple):
        key: str
        name: str
        fee: int

    with Ledger(path) as ledger:
        ledger.hand_in([content("A1")])
        given = Difference("A1", "waiting", 1200)
        ledger.explain(given, by="王", checked_by="李", note="开票点停电")
        ledger.explain(given._replace(key="A2"), by="王", note="-")
        for by, checked_by, note in (("", "", "x"), ("王", "", " "), ("王", "王", "x")):
            with pytest.raises(ValueError, match=r"explanation"):
                ledger.explain(given, by=by, checked_by=checked_by, note=note)
        (kept,) = ledger.history("A1").explanations
    assert (kept.name, kept.fee, kept.who, kept.checked_by) == ("waiting", 1200, "王", "李")
    assert kept.note == "开票点停电"


# Locks


def _locks_of(path: Path) -> list[str]:
    """The locks that this process has on a file, as the kernel lists them."""
    inode = str(path.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    mine = [line for line in lines if line[1] == "POSIX" and line[4] == str(os.getpid())]
    return sorted(" ".join(line[3:]) for line in mine if line[5].rpartition(":")[2] == inode)


def test_looking_leaves_the_locks_of_the_writer(path: Path) -> None:
    """To close a file drops all locks that the process has on it. Without them another process
    removes the log, with all that was committed: bills are forgotten, and sent twice.
    """
    looks: list[Callable[[Ledger], object]] = [
        lambda ledger: ledger.counts(),
        lambda ledger: list(ledger.bills()),
        lambda ledger: ledger.history("A1"),
        lambda ledger: ledger.find("A1"),
        lambda ledger: ledger.runs(),
        lambda ledger: ledger.look(content("A1").key),
        lambda ledger: ledger.verify(),
        lambda ledger: ledger.digest(9),
        lambda ledger: ledger.backup(path.with_name("copy.db")),
        lambda ledger: Ledger(path, read_only=True).counts(),
        lambda ledger: Ledger(path),
        lambda ledger: places.is_database(path),
        lambda ledger: reconciliation.reconcile([{"订单号": "A1", "金额（元）": "12.00"}], path,
                                                day="all"),
    ]  # fmt: skip
    with Ledger(path) as ledger:
        ledger.hand_in([content("A1")])
        before = _locks_of(path)
        assert before
        for place, look in enumerate(looks):
            look(ledger)
            assert _locks_of(path) == before, place


# Migrations


def test_a_migration_keeps_a_backup_and_is_whole_or_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(path) as ledger:
        _reserve(ledger, "A1")
    monkeypatch.setattr(schema, "VERSION", 2)
    half = "ALTER TABLE bill ADD COLUMN one TEXT;\nALTER TABLE nothing ADD COLUMN two TEXT"
    monkeypatch.setitem(schema.MIGRATIONS, 2, half)
    with pytest.raises(LedgerError):
        Ledger(path)
    monkeypatch.setattr(schema, "VERSION", 1)
    assert Ledger(path).counts() == {"in_doubt": 1}
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setitem(schema.MIGRATIONS, 2, "ALTER TABLE bill ADD COLUMN one TEXT")
    assert Ledger(path).counts() == {"in_doubt": 1}
    connection = places.connect(str(path))
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()
    backup = Path(f"{path}-before-version-2")
    assert Ledger(backup, read_only=True).counts() == {"in_doubt": 1}


def test_an_owner_is_collected_with_its_ledger(path: Path) -> None:
    import gc
    import weakref

    ledger = Ledger(path)
    ledger.hand_in([content()])
    owner: weakref.ref[Owner] = weakref.ref(ledger._owner)
    ledger.close()
    del ledger
    gc.collect()
    assert owner() is None


def test_the_log_does_not_grow_without_end(path: Path) -> None:
    """Single writes are done in the caller's thread, and bring the log into the ledger, too."""
    with Ledger(path) as ledger:
        for number in range(700):
            ledger._owner.write(
                lambda connection, n=number: connection.execute(  # type: ignore[misc]
                    "INSERT INTO card (card_id, logo) VALUES (?, ?)", (f"c{n}", "x" * 9000)
                )
            )
        assert Path(f"{path}-wal").stat().st_size < 8 << 20
        assert path.stat().st_size > 2 << 20


@pytest.mark.parametrize("by", ["gevent", "eventlet"])
def test_greenlets_in_the_place_of_threads_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Their callers would wait for a writer that never gets its turn."""

    def start_new_thread(*_: object) -> None:
        raise AssertionError("a thread was begun")

    start_new_thread.__module__ = f"{by}.thread"
    monkeypatch.setattr("_thread.start_new_thread", start_new_thread)
    with Ledger(path) as ledger:
        with pytest.raises(LedgerError, match=f"{by} has patched"):
            ledger.hand_in([content("A1")])
        monkeypatch.undo()
        ledger.hand_in([content("A1")])
