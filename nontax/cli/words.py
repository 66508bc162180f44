"""Sentences in the person's language, those about errors among them."""

from nontax import errors, language


def mark(sentence: str) -> str:
    """Mark a sentence that stands in a table, so that it is known to be one."""
    return sentence


class Words:
    """Sentences in one language: words("the file has {count} rows", count=3)."""

    def __init__(self, name: str) -> None:
        self.language = name
        self._catalogue = language.words(name)

    def __call__(self, sentence: str, **values: object) -> str:
        return self._catalogue.gettext(sentence).format_map(values)

    def plain(self, sentence: str) -> str:
        """Return a sentence that is data, such as an errcode's advice, in this language."""
        return self._catalogue.gettext(sentence)

    def error(self, error: BaseException) -> str:
        """Say what went wrong and what to do. What WeChat and the system said stays as it is."""
        words = self
        if isinstance(error, errors.WeChatError):
            rid = f" [rid {error.rid}]" if error.rid and error.rid not in error.errmsg else ""
            values = {
                "code": f"{error.errcode} {error.name}",
                "said": f"{error.errmsg}{rid}",
                "advice": self.plain(error.advice),
            }
            if error.outcome == "in_doubt":
                return words("in doubt, WeChat answered {code}: {said} | {advice}", **values)
            return words("not accepted by WeChat: {code}: {said} | {advice}", **values)
        if isinstance(error, errors.LedgerError):
            reason = error.reason
            if error.sentence:
                reason = self.plain(error.sentence).format_map(error.values or {})
            return words("the ledger cannot be used: {reason}", reason=reason)
        if isinstance(error, errors.TLSError):
            advice = self.plain(error.advice)
            return words(
                "nothing was sent: {reason} | {advice}", reason=error.reason, advice=advice
            )
        if isinstance(error, errors.NotSentError):
            return words("nothing was sent: {reason}", reason=error.reason)
        if isinstance(error, errors.InDoubtError):
            return words("in doubt, it may have arrived: {reason}", reason=error.reason)
        own = getattr(error, "words", None)  # of lists, and of what is not installed
        return str(own(self.language) if callable(own) else error)
