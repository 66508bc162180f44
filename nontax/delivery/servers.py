"""Whose bills a store has: what only a sandbox has must never count as delivered."""

from urllib.parse import urlsplit


def server_of(base_url: str) -> str:
    """Whose bills go there: "weixin" for all hosts of WeChat's, else scheme and host."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    if host == "api.weixin.qq.com" or host.endswith(".api.weixin.qq.com"):
        return "weixin"
    if host in ("api2.weixin.qq.com",):
        return "weixin"
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"
