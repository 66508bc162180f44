"""`nontax upload`: PDFs to WeChat; prints the media id of each."""

from nontax.cli import lists
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("files", nargs="+", metavar="PDF", help=words("a PDF file"))


def run(desk: "Desk") -> Exit:
    headings = {
        "file": desk.words("file"),
        "s_media_id": "s_media_id",
        "problem": desk.words("problem"),
    }
    rows = []
    failed = 0
    with desk.client() as client:
        for outcome in client.upload_pdfs(
            {path: path for path in lists.paths(desk, desk.args.files)}
        ):
            failed += outcome.error is not None
            rows.append(
                {
                    "file": str(outcome.key),
                    "s_media_id": outcome.uploaded.s_media_id if outcome.uploaded else "",
                    "problem": "" if outcome.error is None else desk.words.error(outcome.error),
                }
            )
    desk.out.rows(headings, rows)
    desk.count(uploaded=len(rows) - failed, failed=failed)
    desk.say("WeChat keeps a PDF for three days unless a bill has it")
    return Exit.WORK_LEFT if failed else Exit.DONE
