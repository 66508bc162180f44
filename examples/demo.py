"""Puts a fiscal e-bill into a sandbox wallet, and shows two that are refused: `make demo`."""

import json
import sys
import tempfile
from pathlib import Path

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import make_certificates

# The bill of WeChat's own page:
# https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
BILL = {
    "order_id": "1511169724",
    "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
    "appid": "wxc0b84a53ed8e8d29",
    "card_ext": {
        "user_card": {
            "invoice_user_data": {
                "fee": 123,
                "title": "灌哥发票",
                "billing_time": "1511169724",
                "billing_no": "1511169724",
                "billing_code": "aabbccdd",
                "s_pdf_media_id": "s_pdf_media_id",
            }
        }
    },
}


def with_two_mistakes() -> dict[str, object]:
    """Return the bill with its amount in yuan and without a title."""
    wrong = json.loads(json.dumps(BILL))
    data = wrong["card_ext"]["user_card"]["invoice_user_data"]
    data["fee"] = 1.23
    data["title"] = ""
    return dict(wrong)


def main() -> int:
    """Run the demonstration; 0 if everything went as it should."""
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        with Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file) as sandbox:
            print(f"A sandbox of WeChat's server listens at {sandbox.base_url}\n")
            client = nontax.Client(
                access_token=sandbox.access_token,
                base_url=sandbox.base_url,
                ca_file=certificates.ca_file,
            )
            inserted = client.insert_bill(BILL)
            print("1. The bill of WeChat's page, over HTTPS:")
            print(f"   in the wallet of {inserted.openid}, with the card code {inserted.code}\n")

            print("2. The same bill with two mistakes:")
            try:
                client.insert_bill(with_two_mistakes())
            except nontax.InvalidRequestError as error:
                print(f"   {type(error).__name__}: {error}\n".replace("\n  ", "\n     "))

            print("3. Another bill, with an access token that has ended:")
            sandbox.expire_access_token()
            try:
                client.insert_bill({**BILL, "order_id": "1511169725"})
            except nontax.AccessTokenError as error:
                print(f"   {type(error).__name__}: {error}\n")

            print(f"The sandbox has taken {len(sandbox.bills)} bill.")
            return 0 if list(sandbox.bills) == [BILL["order_id"]] else 1


if __name__ == "__main__":
    sys.exit(main())
