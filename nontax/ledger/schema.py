"""The tables of a ledger, and how an older one becomes a newer one.

No NULL and no '' carries meaning in a key or a CHECK: some databases take the one for the other. In
a CHECK `typeof` refuses both, and a time of 0 is one that has not come.

Texts that many bills share stand in `word` once. Read the views `bills` and `attempts`, which have
them as texts; write to the tables.

Times are Unix milliseconds. They are told to people; nothing is decided by them.
"""

APPLICATION_ID = 0x6E6F7461  # "nota"
VERSION = 1

_STATES = (
    "'held', 'waiting', 'sending', 'inserted', 'rejected', 'not_sent', 'in_doubt', 'withdrawn'"
)

# Of an attempt: the state to which its bill returns if it has changed nothing, by number.
BACK_TO = {"waiting": 1, "not_sent": 2, "in_doubt": 3}


def _word(column: str) -> str:
    return f"coalesce((SELECT text FROM word WHERE word.id = {column}), '') AS {column}"


def _back_to() -> str:
    cases = " ".join(f"WHEN {number} THEN '{state}'" for state, number in BACK_TO.items())
    return f"CASE back_to {cases} END AS back_to"


_VERSION_1 = f"""
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ledger TEXT NOT NULL,
    server TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL,
    backup_of TEXT NOT NULL DEFAULT '',
    is_backup INTEGER NOT NULL DEFAULT 0 CHECK (is_backup IN (0, 1)),
    highwater INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    end_reason TEXT NOT NULL DEFAULT '',
    account TEXT NOT NULL DEFAULT '',
    command TEXT NOT NULL DEFAULT '',
    os_user TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    boot_id TEXT NOT NULL DEFAULT '',
    pid INTEGER NOT NULL DEFAULT 0,
    nontax TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '',
    source_sha256 TEXT NOT NULL DEFAULT ''
);
CREATE TABLE word (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE CHECK (length(text) > 0)
);
CREATE TABLE bill (
    id INTEGER PRIMARY KEY,
    appid INTEGER NOT NULL CHECK (typeof(appid) = 'integer' AND appid > 0),
    order_id TEXT NOT NULL CHECK (length(order_id) > 0),
    card_id INTEGER NOT NULL,
    fee INTEGER NOT NULL,
    title TEXT NOT NULL DEFAULT '',
    billing_time INTEGER NOT NULL,
    billing_no INTEGER NOT NULL,
    billing_code TEXT NOT NULL,
    s_pdf_media_id TEXT NOT NULL DEFAULT '',
    pdf_path TEXT NOT NULL DEFAULT '',
    pdf_sha256 TEXT NOT NULL DEFAULT '',
    pdf_uploaded INTEGER NOT NULL DEFAULT 0,
    extra TEXT NOT NULL DEFAULT '',
    shape INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({_STATES})),
    errcode INTEGER NOT NULL DEFAULT 0,
    code TEXT NOT NULL DEFAULT '',
    code_unknown INTEGER NOT NULL DEFAULT 0 CHECK (code_unknown IN (0, 1)),
    openid TEXT NOT NULL DEFAULT '',
    from_list INTEGER NOT NULL DEFAULT 0 CHECK (from_list IN (0, 1)),
    pruned INTEGER NOT NULL DEFAULT 0 CHECK (pruned IN (0, 1)),
    run INTEGER NOT NULL,
    source_row INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL,
    UNIQUE (order_id, appid)
);
CREATE INDEX number ON bill (billing_code, billing_no);
CREATE INDEX open_bill ON bill (state, id)
    WHERE state IN ('held', 'waiting', 'sending', 'in_doubt');
CREATE INDEX code ON bill (code) WHERE state = 'inserted';
CREATE INDEX without_code ON bill (card_id) WHERE code_unknown = 1;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    bill INTEGER NOT NULL,
    number INTEGER NOT NULL,
    run INTEGER NOT NULL,
    slot INTEGER NOT NULL CHECK (typeof(slot) = 'integer'),
    signed INTEGER NOT NULL CHECK (typeof(signed) = 'integer' AND signed IN (0, 1)),
    signed_by TEXT NOT NULL DEFAULT '',
    back_to INTEGER NOT NULL CHECK (typeof(back_to) = 'integer' AND back_to IN (1, 2, 3)),
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '',
    errcode INTEGER NOT NULL DEFAULT 0,
    errmsg TEXT NOT NULL DEFAULT '',
    rid TEXT NOT NULL DEFAULT '',
    rid_info TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    curl_code INTEGER NOT NULL DEFAULT 0,
    http_status INTEGER NOT NULL DEFAULT 0,
    transfers INTEGER NOT NULL DEFAULT 0,
    content TEXT NOT NULL DEFAULT '',
    UNIQUE (bill, slot),
    CHECK (slot <= 0 OR signed = 1)
);
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    bill INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    verdict TEXT NOT NULL,
    who TEXT NOT NULL DEFAULT '',
    checked_by TEXT NOT NULL DEFAULT '',
    os_user TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX evidence_of ON evidence (bill);
CREATE TABLE explanation (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    class TEXT NOT NULL,
    fee INTEGER NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    checked_by TEXT NOT NULL DEFAULT '',
    os_user TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL
);
CREATE INDEX explanation_of ON explanation (key);
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    bill INTEGER NOT NULL DEFAULT 0,
    card_id TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    order_id TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    at INTEGER NOT NULL,
    reimburse_status TEXT NOT NULL,
    source TEXT NOT NULL,
    outcome TEXT NOT NULL,
    errcode INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX change_of ON change (bill);
CREATE INDEX change_of_order ON change (order_id);
CREATE TABLE card (
    card_id TEXT PRIMARY KEY,
    appid TEXT NOT NULL DEFAULT '',
    payee TEXT NOT NULL DEFAULT '',
    logo TEXT NOT NULL DEFAULT ''
);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    order_id TEXT NOT NULL DEFAULT '',
    card_id TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT '',
    openid TEXT NOT NULL DEFAULT '',
    after_attempt INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX event_of_order ON event (order_id);
CREATE INDEX open_event ON event (card_id) WHERE settled = 0;
CREATE TRIGGER evidence_stays BEFORE UPDATE ON evidence
    BEGIN SELECT RAISE(ABORT, 'evidence is append only'); END;
CREATE TRIGGER evidence_remains BEFORE DELETE ON evidence
    BEGIN SELECT RAISE(ABORT, 'evidence is append only'); END;
CREATE TRIGGER explanation_stays BEFORE UPDATE ON explanation
    BEGIN SELECT RAISE(ABORT, 'explanations are append only'); END;
CREATE TRIGGER explanation_remains BEFORE DELETE ON explanation
    BEGIN SELECT RAISE(ABORT, 'explanations are append only'); END;
CREATE TRIGGER bill_remains BEFORE DELETE ON bill
    BEGIN SELECT RAISE(ABORT, 'no bill is ever deleted'); END;
CREATE TRIGGER attempt_remains BEFORE DELETE ON attempt
    BEGIN SELECT RAISE(ABORT, 'no attempt is ever deleted'); END;
CREATE TRIGGER word_stays BEFORE UPDATE ON word
    BEGIN SELECT RAISE(ABORT, 'words are append only'); END;
CREATE TRIGGER word_remains BEFORE DELETE ON word
    BEGIN SELECT RAISE(ABORT, 'words are append only'); END;
CREATE VIEW bills AS SELECT
    id, {_word("appid")}, order_id, {_word("card_id")}, fee, title, billing_time,
    {_word("billing_no")}, billing_code, s_pdf_media_id, pdf_path, pdf_sha256, pdf_uploaded, extra,
    {_word("shape")}, state, errcode, code, code_unknown, openid, from_list, pruned, run,
    source_row, changed FROM bill;
CREATE VIEW attempts AS SELECT
    id, bill, number, run, slot, signed, signed_by, {_back_to()}, began, ended, outcome, errcode,
    errmsg, rid, rid_info, reason, curl_code, http_status, transfers, content FROM attempt
"""

# MIGRATIONS[n] makes version n of version n - 1, in one transaction. A released one never changes.
MIGRATIONS: dict[int, str] = {1: _VERSION_1}


def statements(script: str) -> list[str]:
    """A script's statements. Those of a trigger's body end inside a line, all others end one."""
    return [part.strip() for part in script.split(";\n") if part.strip()]
