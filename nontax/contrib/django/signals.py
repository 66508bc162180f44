"""Signals. Receivers of the first two run inside the transaction that keeps the event.

order_authorised, bill_status_changed: `event` (of nontax.events), `account` (alias). When a
receiver raises, the work of all is rolled back, the exception's name is kept with the event, and
`manage.py nontax_events --retry` calls them again.

bill_settled: `appid`, `order_id`, `state`: an answer has been kept. bill_in_doubt: the same, where
the state is "in_doubt". Their receivers run after the commit, in the relay; what they raise is
logged. A relay that dies just then does not call them: take them as hints.

relay_paused: `account`, `interface`, `seconds`, `why`: every relay pauses calling it, after a quota
for instance; sent by the relay that has met it. relay_silent: `worker`, `seconds`: a relay has not
been heard of for so long; sent by `manage.py nontax_status`, each time, for an hour.
"""

from django.dispatch import Signal

order_authorised = Signal()
bill_status_changed = Signal()
bill_settled = Signal()
bill_in_doubt = Signal()
relay_paused = Signal()
relay_silent = Signal()
