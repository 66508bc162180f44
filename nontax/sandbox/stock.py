"""What a finance bureau keeps with WeChat for its bills: cards (templates) and PDF files."""

import itertools
import secrets
from dataclasses import dataclass

from .clock import Clock
from .errcodes import RefusalError

PDF_LIFETIME = 3 * 24 * 3600
URL_LIFETIME = 7200


@dataclass(frozen=True, slots=True)
class Card:
    """One card made by createbillcard.

    Attributes:
        card_id: str. appid: str, the finance bureau's. payee, logo_url: str.
        created: float, Unix seconds.
    """

    card_id: str
    appid: str
    payee: str
    logo_url: str
    created: float


@dataclass(frozen=True, slots=True)
class Pdf:
    """One file uploaded by setpdf.

    Attributes:
        s_media_id: str. appid: str, the finance bureau's. filename, content_type: str.
        content: bytes, as uploaded; nobody has looked into it.
        expires: float, Unix seconds after which it is gone, unless a bill has it.
        order_id: str, the bill it belongs to, or "".
    """

    s_media_id: str
    appid: str
    filename: str
    content_type: str
    content: bytes
    expires: float
    order_id: str = ""

    def __repr__(self) -> str:
        return f"<Pdf {self.s_media_id} {self.filename!r}, {len(self.content)} bytes>"


class Stock:
    """All cards and files. The caller holds the world's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.cards: dict[str, Card] = {}
        self._pdfs: dict[str, Pdf] = {}
        self._urls: dict[str, tuple[str, float]] = {}
        # Above 2**53, like real ones: what passes through a float does not come back.
        self._media_ids = itertools.count(2**56 + secrets.randbits(50))

    def add_card(self, appid: str, payee: str, logo_url: str) -> Card:
        card = Card(f"p{secrets.token_urlsafe(20)}", appid, payee, logo_url, self._clock.time())
        self.cards[card.card_id] = card
        return card

    def add_pdf(self, appid: str, filename: str, content_type: str, content: bytes) -> Pdf:
        expires = self._clock.time() + PDF_LIFETIME
        pdf = Pdf(str(next(self._media_ids)), appid, filename, content_type, content, expires)
        self._pdfs[pdf.s_media_id] = pdf
        return pdf

    def pdfs(self) -> dict[str, Pdf]:
        """The files that are still there."""
        return {s_media_id: pdf for s_media_id in list(self._pdfs) if (pdf := self.pdf(s_media_id))}

    def pdf(self, s_media_id: str) -> Pdf | None:
        pdf = self._pdfs.get(s_media_id)
        if pdf is not None and not pdf.order_id and self._clock.time() >= pdf.expires:
            del self._pdfs[s_media_id]
            return None
        return pdf

    def keep(self, pdf: Pdf) -> None:
        """Put a changed record in the place of the one before."""
        self._pdfs[pdf.s_media_id] = pdf

    def make_url_key(self, appid: str, s_media_id: str) -> str:
        """A key under which the file can be fetched for two hours. Raises RefusalError."""
        pdf = self.pdf(s_media_id)
        if pdf is None or pdf.appid != appid:
            raise RefusalError(40007)
        key = secrets.token_urlsafe(18)
        self._urls[key] = (s_media_id, self._clock.time() + URL_LIFETIME)
        return key

    def behind(self, key: str) -> Pdf | None:
        """The file to be fetched under a key."""
        s_media_id, expires = self._urls.get(key, ("", 0.0))
        return self.pdf(s_media_id) if self._clock.time() < expires else None
