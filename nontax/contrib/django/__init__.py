"""An outbox for Django: bills are rows of your own transaction, and are sent once, by any machine.

INSTALLED_APPS += ["nontax.contrib.django"], the setting NONTAX, then `outbox.enqueue`.
"""
