"""PDFs in the outbox: uploaded before their bill is sent, and again when WeChat forgets them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bills import SHAPES, bill, reshape
from django.utils import timezone
from djangos import count_posts, nontax_of, outbox_in

from nontax import InvalidRequestError
from nontax.contrib.django import outbox, pace
from nontax.contrib.django.models import NEVER, Attempt, Bill
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.resending import resend
from nontax.contrib.django.rows import UPLOAD_MS, now_ms
from nontax.sandbox import Sandbox, faults

UPLOAD = "/card/invoice/platform/setpdf"


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox")):
        yield


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "票据.pdf"
    path.write_bytes(b"%PDF-1.7")
    return path


def _uploads(sandbox: Sandbox) -> int:
    return sum(request.path == UPLOAD for request in sandbox.requests)


def _enqueue(given: dict[str, Any], pdf: Path | None) -> Bill:
    return outbox.enqueue(given, account="bureau", pdf=pdf, durable=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bill_with_a_pdf_needs_no_media_id(sandbox: Sandbox, pdf: Path, shape: str) -> None:
    flat = bill(shape="flat")
    for media_id in (None, ""):
        fields = {**flat, "order_id": f"P{media_id}", "billing_code": f"{len(f'P{media_id}'):010}"}
        given = reshape(fields, shape)
        places = [given, given.get("card_ext", {}).get("user_card", {})]
        places.append(places[1].get("invoice_user_data", {}))
        for place in places:
            if "s_pdf_media_id" in place:
                del place["s_pdf_media_id"]
                if media_id is not None:
                    place["s_pdf_media_id"] = media_id
        before = repr(given)
        row = _enqueue(given, pdf)
        assert repr(given) == before
        with pytest.raises(InvalidRequestError, match="s_pdf_media_id"):
            _enqueue(given, None)
        Relay().run(once=True)
        row.refresh_from_db()
        assert row.state == "inserted"
        assert row.content.media_id in sandbox.pdfs
    assert sum(count_posts(sandbox).values()) == 2


def test_a_pdf_that_waits_too_long_is_uploaded_again(sandbox: Sandbox, pdf: Path) -> None:
    sandbox.inject(faults.Errcode(48001), path="/nontax/insertbill")
    row = _enqueue(bill(), pdf)
    Relay().run(once=True)
    row.refresh_from_db()
    first = row.content.media_id
    assert (row.state, _uploads(sandbox)) == ("waiting", 1)
    assert now_ms() < row.media_due <= now_ms() + UPLOAD_MS
    pace.resume("outbox")
    Bill.objects.using("outbox").update(media_due=now_ms())  # 60 hours later
    Relay().run(once=True)
    row.refresh_from_db()
    row.content.refresh_from_db()
    assert (row.state, _uploads(sandbox)) == ("inserted", 2)
    assert row.content.media_id != first


def test_a_resend_uploads_it_again(sandbox: Sandbox, pdf: Path) -> None:
    sandbox.inject(faults.Close("body", taken=False), times=2, path="/nontax/insertbill")
    old, plain = _enqueue(bill(), pdf), _enqueue(bill(), None)
    Relay().run(once=True)
    past = timezone.now() - timedelta(hours=61)
    Attempt.objects.using("outbox").update(changed_at=past)
    Bill.objects.using("outbox").filter(pk=old.pk).update(media_due=now_ms())
    for row in (old, plain):
        row.refresh_from_db()
        assert row.state == "in_doubt"
        resend("outbox", row, by="王", checked_by="李", note="asked")
        row.refresh_from_db()
        assert row.state == "inserted"
    assert (_uploads(sandbox), plain.media_due) == (2, NEVER)
