"""What WeChat's own record says of a request in doubt: advice for a person. It settles nothing."""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Record(Protocol):
        """What `Client.get_rid_info` returns."""

        @property
        def invoke_time(self) -> int | None: ...
        @property
        def cost_in_ms(self) -> int | None: ...
        @property
        def response_body(self) -> str | None: ...


# WeChat keeps the record of a request for seven days.
KEPT_MS = 7 * 86_400_000
# It does not know the rid any more, or not of this account: it need not be asked again.
NOT_KNOWN = frozenset({76001, 76002, 76003})


def facts_of(info: "Record") -> dict[str, object]:
    """What may be kept: when it was, how long it took and what the answer was.

    Nothing else of it: the bodies have the payer's name and the citizen's openid.
    """
    kept: dict[str, object] = {"invoke_time": info.invoke_time, "cost_in_ms": info.cost_in_ms}
    try:
        answer = json.loads(info.response_body or "")
        kept |= {name: answer[name] for name in ("errcode", "errmsg") if name in answer}
    except (ValueError, TypeError):
        pass
    return kept
