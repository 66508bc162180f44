"""Names that are shown so that nobody is named."""


def mask_name(name: str) -> str:
    """Show the first character alone: 张三丰 → 张**. A longer name gives away no length."""
    return name[:1] + "*" * min(2, len(name) - 1) if name else ""
