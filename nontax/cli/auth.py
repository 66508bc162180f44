"""`nontax auth`: the page on which a citizen authorises an order, and what became of it."""

from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "action",
        choices=("url", "status"),
        help=words("url: make the page; status: ask whether the order is authorised"),
    )
    parser.add_argument("--order", required=True, metavar="ORDER", help=words("the order"))
    parser.add_argument(
        "--s-pappid", metavar="ID", help=words("the finance bureau's id (or the profile's)")
    )
    parser.add_argument("--amount", metavar="YUAN", help=words("amount of the order in yuan"))
    parser.add_argument("--source", choices=("web", "app"), default="web")
    parser.add_argument("--redirect-url", metavar="URL", help=words("the page that follows"))


def s_pappid_of(desk: "Desk") -> str:
    """Return --s-pappid or the profile's; without one the command ends."""
    found = desk.args.s_pappid or desk.profile.get("s_pappid")
    if not found:
        raise desk.stop(Exit.USAGE, "--s-pappid is required: ask the finance bureau for it")
    return str(found)


def run(desk: "Desk") -> Exit:
    s_pappid = s_pappid_of(desk)
    with desk.client() as client:
        if desk.args.action == "status":
            data = client.get_auth_data(s_pappid=s_pappid, order_id=desk.args.order)
            row = {"order_id": desk.args.order, "invoice_status": data.invoice_status}
            row["auth_time"] = str(data.auth_time or "")
            desk.out.rows({name: name for name in row}, [row])
            return Exit.DONE if data.invoice_status == "auth success" else Exit.WORK_LEFT
        page = client.get_bill_auth_url(
            s_pappid=s_pappid,
            order_id=desk.args.order,
            money=_fen(desk),
            source=desk.args.source,
            redirect_url=desk.args.redirect_url,
        )
    row = {"auth_url": page.auth_url, "expire_time": str(page.expire_time)}
    desk.out.rows({name: name for name in row}, [row])
    return Exit.DONE


def _fen(desk: "Desk") -> int:
    import nontax

    if desk.args.amount is None:
        raise desk.stop(Exit.USAGE, "give the order's amount in yuan: --amount 12.30")
    try:
        return nontax.fen(desk.args.amount)
    except ValueError as error:
        raise desk.stop(Exit.USAGE, "--amount {problem}", problem=error) from None
