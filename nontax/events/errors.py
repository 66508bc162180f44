"""What can be wrong with a push; no kin of NontaxError, for no bill is at stake."""


class EventError(ValueError):
    """Base of the errors of this module. Can be pickled; never contains a secret."""


class UntrustedEventError(EventError):
    """Nothing shows that WeChat sent this, or that it did so lately. Answer 403 and ignore it.

    If WeChat's own pushes end here, the token, the aes_key, the appid, the account's mode or this
    machine's clock is wrong.
    """


class InvalidEventError(EventError):
    """It carries WeChat's signature, and is one of the two events, but cannot be understood.

    Tell a person: an event may be lost. Answer `success` all the same: WeChat would only repeat it.
    """
