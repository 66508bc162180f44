"""Make the lists in this folder: layouts of real systems, with made-up people and numbers.

    python examples/lists/make_lists.py

They are as untidy as real ones: see README.md beside this file for what is wrong with which row.
"""

from pathlib import Path

HERE = Path(__file__).parent

# A grid of a hospital's system: GB18030, a title, a header of two rows with merged cells, tabs
# behind long numbers, subtotals, a total and a signature line.
HOSPITAL = """\
示例市第一医院电子票据明细表,,,,,,,,,,
开票日期：2026-11-30 至 2026-11-30,,,,,,,,,,
序号,结算ID,票据信息,,,患者姓名,总金额（元）,开票日期,开票时间,状态,备注
,,票据代码,票据号码,校验码,,,,,,
1,JS20261130000000000001\t,33060126\t,0000104501\t,fc0971,测试甲,388.50,2026-11-30,08:02:11,正常,
2,JS20261130000000000002\t,33060126\t,0000104502\t,589e80,测试乙 ,"1,204.00",2026-11-30,\
08:05:40,正常,
3,JS20261130000000000003\t,33060126\t,0000104503\t,qfmejx,测试丙,15.00,2026-11-30,08:11:03,冲红,退费
,小计,,,,,"1,607.50",,,,
4,JS20261130000000000004\t,33060126\t,0000104504\t,0bf601,测试丁,62.40,2026-11-30,09:15:00,正常,
5,JS20261130000000000005\t,33060126\t,0000104505\t,589d80,测试戊,0.01,2026-11-30,09:15:00,作废,空号
,小计,,,,,62.41,,,,
,合计,共 5 笔,,,,"1,669.91",,,,
制表人：测试员,,,,复核：,,,,,,
"""

# An export of a billing platform: UTF-8 with a byte order mark, English names, numbers for the
# kinds, times without separators. Two of its rows have been through a spreadsheet program.
PLATFORM = """\
billBatchCode,billNo,random,payer,totalAmt,createTime,DataType,placeCode,busNo,关联票据代码,关联票据号码
33060126,0000104501,fc0971,测试甲,388.50,20261130080211015,1,001,JS20261130000000000001,,
33060126,0000104502,589e80,测试乙,1204.00,20261130080540230,1,001,JS20261130000000000002,,
33060126,0000104503,qfmejx,测试丙,15.00,20261130081103007,1,001,JS20261130000000000003,,
33060126,0000104506,wm3k7a,测试丙,-15.00,20261130103000411,2,001,JS20261130000000000006,33060126,0000104503
33060126,0000104504,0bf601,测试丁,62.40,20261130091500000,1,002,2.0261130E+19,,
33060126,0000104507,5.89E+82,测试己,62.405,20261130091501000,1,002,JS20261130000000000007,,
33060226,0000002201,aa11bb,测试庚,7.00,20261130110000000,3,002,JS20261130000000000008,33060126,0000104499
"""

# WeChat Pay's statement of one day: each value behind a backtick, totals in the last two rows.
STATEMENT_HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,"
    "货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,"
    "商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
STATEMENT_TOTALS = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def payment(time: str, number: int, order: str, amount: str, refund: str = "") -> str:
    """Write one row: a payment, or the refund of one."""
    paid, returned = ("0.00", amount) if refund else (amount, "0.00")
    values = [time, "wx0000000000000000", "1900000000", "0", "", f"42000000002026113000{number:08}"]
    values += [order, "oExampleOpenid000000000000000", "JSAPI", "REFUND" if refund else "SUCCESS"]
    values += ["OTHERS", "CNY", paid, "0.00"]
    values += [f"50000000002026113000{number:08}" if refund else "0", refund or "0", returned]
    values += ["0.00", "ORIGINAL" if refund else "", "SUCCESS" if refund else ""]
    values += ["门诊缴费,自助机", "", "0.00000", "0.00%", paid, returned, ""]
    return _row(values)


def _row(values: list[str]) -> str:
    return ",".join(f"`{value}" for value in values)


def statement() -> str:
    """Write the whole statement: three payments and a refund."""
    third = "JS20261130000000000003"
    rows = [
        payment("2026-11-30 08:01:59", 1, "JS20261130000000000001", "388.50"),
        payment("2026-11-30 08:05:21", 2, "JS20261130000000000002", "1204.00"),
        payment("2026-11-30 08:10:47", 3, third, "15.00"),
        payment("2026-11-30 10:29:30", 3, third, "15.00", refund="TK20261130000000000001"),
    ]
    totals = _row(["4", "1607.50", "15.00", "0.00", "0.00", "1607.50", "15.00"])
    return "\n".join([STATEMENT_HEADER, *rows, STATEMENT_TOTALS, totals, ""])


PLATFORM_MAP = """\
# What this platform's numbers mean. Other systems number differently: ask yours.
unit = "yuan"

[values.data_type]
"1" = "正常电子"
"2" = "电子红票"
"3" = "换开纸质"
"4" = "换开纸质红票"
"5" = "空白纸质"
"""

HOSPITAL_MAP = """\
# In this hospital, the settlement is the order that the citizen authorises.
[columns]
order_id = "结算ID"

[constants]
appid = "wx0000000000000000"
card_id = "pExampleCard000000000000000"
"""


def make(folder: Path) -> None:
    """Write all files into a folder."""
    texts = {
        "hospital.csv": HOSPITAL.encode("gb18030").replace(b"\n", b"\r\n"),
        "hospital.toml": HOSPITAL_MAP.encode(),
        "platform.csv": PLATFORM.encode("utf-8-sig").replace(b"\n", b"\r\n"),
        "platform.toml": PLATFORM_MAP.encode(),
        "wechat.csv": statement().encode("utf-8-sig").replace(b"\n", b"\r\n"),
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    make(HERE)
