"""What a store of bills must be able to do, and what a client needs of one.

A store is where bills, attempts and evidence are kept. `contract.py` has the tests that every store
passes. Each method here is one transaction, which is on disk when the method returns; a method that
raises has changed nothing.
"""

from typing import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nontax.delivery.states import Answer, State


class Key(NamedTuple):
    """What makes a bill the same bill: its own appid, and the order."""

    appid: str
    order_id: str


class Content(NamedTuple):
    """A bill as it is sent. `s_pdf_media_id` is no content: an upload's id changes.

    fee: in fen. billing_time: Unix seconds. extra: JSON of fields that WeChat's page does not name,
    or "". shape: "flat", "table" or "sample".
    """

    appid: str
    order_id: str
    card_id: str
    fee: int
    title: str
    billing_time: int
    billing_no: str
    billing_code: str
    s_pdf_media_id: str = ""
    extra: str = ""
    shape: str = "flat"

    @property
    def key(self) -> Key:
        return Key(self.appid, self.order_id)


# What makes two bills of one order different bills.
CONTENT_FIELDS = (
    "card_id",
    "fee",
    "title",
    "billing_time",
    "billing_no",
    "billing_code",
    "extra",
)


def differences(kept: Content, given: Content, *, pruned: "Sequence[str]" = ()) -> list[str]:
    """The names of the fields in which two bills of one order differ. Pruned ones are not known."""
    return [
        name
        for name in CONTENT_FIELDS
        if name not in pruned and getattr(kept, name) != getattr(given, name)
    ]


# States in which a bill has its printed number for itself: no other order may be sent with it.
NUMBER_TAKEN = frozenset({"waiting", "sending", "inserted", "in_doubt"})
SAME_NUMBER = "another order has the same printed code and number"
# The outcome of an attempt whose owner has died, until its own answer comes, if ever.
GIVEN_UP = "given_up"


class Claim(NamedTuple):
    """An attempt that is written down: its bill may be sent once, by its owner alone.

    attempt: the attempt's id. number: 1 for the bill's first, and so on. bill: the bill's id, where
    the store has one.
    """

    attempt: int
    number: int
    content: Content
    signed: bool
    back_to: "State"
    bill: int = 0

    @property
    def key(self) -> Key:
        return self.content.key


class Known(NamedTuple):
    """A bill as the store has it.

    errcode, errmsg, rid, reason: of its last attempt that has ended; 0 and "" if there is none.
    code_unknown: it is in the wallet, and its card code is not known.
    """

    content: Content
    state: "State"
    code: str = ""
    openid: str = ""
    code_unknown: bool = False
    errcode: int = 0
    errmsg: str = ""
    rid: str = ""
    reason: str = ""
    from_list: bool = False

    @property
    def key(self) -> Key:
        return self.content.key


class Refused(NamedTuple):
    """A bill that the store does not take, or does not let be sent.

    known: what is kept of its order (or of the other order with its number).
    why: a clause for a message. fields: what differs, if the content does.
    """

    known: Known
    why: str
    fields: tuple[str, ...] = ()
    same_number: bool = False


class Settled(NamedTuple):
    """What an answer has come to. `applied`: it has changed the bill; else it is kept as evidence.

    shown: it settles nothing, and a person has to see it. spooled: the store could not take it; it
    is in the spool, and state is what it will be.
    """

    key: Key
    state: "State"
    applied: bool
    shown: bool = False
    spooled: bool = False


class AttemptRow(NamedTuple):
    """An attempt as it is kept. ended: whether its answer, or its owner's end, is known.

    at: when it last changed, in Unix milliseconds, where the store keeps it.
    """

    id: int
    number: int
    slot: int
    signed: bool
    signed_by: str
    ended: bool
    outcome: str
    errcode: int
    reason: str
    at: int = 0


class EvidenceRow(NamedTuple):
    """What has been learned of a bill besides its attempts' answers. Never changed."""

    kind: str
    verdict: str
    who: str
    checked_by: str
    note: str
    detail: str


class Window(NamedTuple):
    """Claims that may be sent now.

    until: when the last of them may be handed over, by CLOCK_BOOTTIME, in seconds; None where an
    owner's end is known without a clock. Claims that are left then are settled as not sent.
    pause: if there are no claims, because a quota is used up: seconds after which to ask again.
    """

    claims: "list[Claim]"
    until: float | None = None
    pause: float = 0.0


class PdfDue(NamedTuple):
    """A waiting bill's PDF that has to be uploaded first. sha256: as it was listed, or ""."""

    key: Key
    path: str
    sha256: str


class Store(Protocol):
    """Where bills, attempts and evidence are kept, as one of their owners sees it.

    An owner is a process, or a part of one, that may die without a word. How others learn that it
    has, by a lock or by a lease, is the store's own affair: `expire`.
    """

    def hand_in(
        self, bills: "Sequence[Content]", *, again: bool = False, allow_same_number: bool = False
    ) -> "list[Known | Refused]":
        """Have bills sent some time: new ones, and those that may be sent again, become waiting.

        One answer for each, in order. A bill that is known as sending, inserted, in doubt or
        waiting with the same content is Known as it is; with other content it is Refused (a
        waiting one takes the new content). again: also those whose last answer was that the
        citizen has not authorised the order.
        """

    def pdfs_due(self, limit: int) -> "list[PdfDue]":
        """The PDFs of waiting bills that are not uploaded, or 60 hours ago; at most so many."""

    def keep_pdf(self, key: Key, s_pdf_media_id: str) -> None:
        """The bill's PDF was uploaded just now."""

    def reserve(self, limit: int) -> Window:
        """Write down an attempt for each of at most `limit` waiting bills, the oldest first.

        Bills whose PDF is due are left out.

        It is on disk when this returns. No other owner gets the same bill.
        """

    def resend(self, key: Key, *, by: str, checked_by: str = "", note: str = "") -> Claim:
        """Write down a signed attempt for a bill in doubt, and why.

        Raises ValueError if the bill is not in doubt, or nobody signs.
        """

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        """These may leave the machine from now on. Called before the first byte can.

        A store that cannot prove what was not handed over does nothing here.
        """

    def settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> "list[Settled]":
        """Keep what became of attempts, of this owner's or of one that was given up.

        An answer of a bill's last attempt is applied by the rules of `states.settle`; one of an
        older attempt, and one that comes twice, changes nothing and is kept as evidence.
        """

    def expire(self) -> "list[Key]":
        """Give up the attempts of owners that have died; the bills that are in doubt now.

        Their bills become in_doubt; only where it is proved that a bill was not handed over, it
        goes back to the state before. A living owner's are left alone.
        """

    def resolve(
        self,
        key: Key,
        verdict: str,
        *,
        by: str,
        note: str,
        code: str = "",
        checked_by: str = "",
    ) -> "State":
        """A person settles a bill in doubt: "inserted" or "not_taken". The bill's new state.

        Raises ValueError if it is not in doubt, or `by` or `note` is missing.
        """

    def withdraw(self, key: Key, *, by: str, note: str) -> None:
        """A person takes back a bill that is held or waiting. Raises ValueError if it is not."""

    def observe(self, card_id: str, code: str, *, detail: str = "") -> "Key | None":
        """An event names a card and a code. The bill that this settles, or None.

        An unknown code proves that some bill of the card has arrived. If exactly one bill in
        doubt, or inserted without a code, has the card, it is that one.
        """

    def note_rejection(self, key: Key) -> None:
        """Our own reject_bill of this order was carried out."""

    def look(self, key: Key) -> Known | None:
        """A bill as it is kept."""

    def attempts(self, key: Key) -> "list[AttemptRow]":
        """A bill's attempts, the oldest first."""

    def evidence(self, key: Key) -> "list[EvidenceRow]":
        """What was learned of a bill besides, the oldest first."""

    def counts(self) -> "dict[State, int]":
        """How many bills are in each state."""

    def waiting(self) -> int:
        """How many bills are waiting. There may be many millions that are not."""

    def close(self) -> None:
        """End this owner: attempts without an answer are given up."""


class Journal(Protocol):
    """What a client needs to have its calls written ahead.

    Nothing of a bill is sent before `open_attempts` has returned its Claim, and no outcome is shown
    before `close_attempts` has returned.
    """

    def open_attempts(self, bills: "Sequence[Content]") -> "list[Claim | Known | Refused]":
        """Write down an attempt for each bill that may be sent by a direct call.

        One answer for each, in order: a Claim; Known if the bill has its outcome already, or
        another run has it under way; Refused if it was known with other content.
        """

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        """As `Store.handed_over`."""

    def close_attempts(self, answers: "Sequence[tuple[Claim, Answer]]") -> "list[bool]":
        """Keep what became of attempts. For each, whether it had to go into the spool."""


class Batch(Protocol):
    """What a run has for a journal when its turn comes; used in the thread that writes.

    The first two may be asked again, where a transaction is repeated, and return the same then.
    """

    def answers(self) -> "Sequence[tuple[Claim, Answer]]":
        """The answers that are to be kept."""

    def bills(self) -> "Sequence[Content]":
        """The bills whose attempts are to be written down."""

    def kept(self, *, spooled: bool, error: BaseException | None = None) -> None:
        """The answers are kept, perhaps in the spool; or, with an error, nowhere. Comes first."""

    def opened(
        self, answers: "list[Claim | Known | Refused] | None", error: BaseException | None
    ) -> None:
        """As `Journal.open_attempts` has returned, or its error. Comes last."""
