/* run_journal.c: a run whose bills are on disk before they are sent, and their outcomes before they
 * are seen.
 *
 * The disk has a thread of its own. Between it and the run stand three queues of the journal, which
 * any thread may use: `opens`, bills that are printed; `closes`, outcomes that have come; and
 * `answers`, what the disk has done with both, in the same order. A bill passes these stages:
 *
 *     OPENING  printed; in `opens`, or with the disk
 *     READY    its attempt is on disk: it may begin
 *     IN_RUN   it is sent, as any bill
 *     FINISHED its answer has come, of which Python has made nothing yet
 *     CLOSING  its outcome is known; in `closes`, or with the disk
 *     (over)   its outcome is on disk, and given out
 *
 * From OPENING a bill that is known is over at once, or waits ELSEWHERE for another run that has it
 * under way. From CLOSING it may have to go AGAIN, after a pause.
 *
 * The thread takes all that is there when its turn comes, so that work goes by groups. Python code
 * that works on a group runs in that thread, where no signal handler can interrupt it; each step
 * here is done in one go. */
#include "run.h"

/* For so long a group waits for more bills, unless it is as large as the window: a group costs a
 * hand-over between two threads and a sync of the disk. */
static const double LINGER = 0.002;
/* Between two looks at bills that another run has under way. */
enum { LOOK_EVERY_MS = 50 };
/* Windows that are written down before they may begin: one begins while the next one is with the
 * disk. */
enum { WINDOWS_AHEAD = 2 };
/* This part of a window is marked, and finishes, before Python is asked again. */
enum { SHARE_AHEAD = 4 };

/* ---- queues of bills ------------------------------------------------------------------------- */

static void put(run_object *self, entry *entry, stage stage)
{
    entry_queue *queue = &self->queues[stage];
    entry->stage = stage;
    entry->newer = NULL;
    if (queue->last) {
        queue->last->newer = entry;
    } else {
        queue->first = entry;
    }
    queue->last = entry;
    queue->count++;
}

static entry *first(const run_object *self, stage stage)
{
    return self->queues[stage].first;
}

/* Takes the first one, which is in no stage then but in that of a call in the run. */
static entry *take(run_object *self, stage stage)
{
    entry_queue *queue = &self->queues[stage];
    entry *entry = queue->first;
    queue->first = entry->newer;
    queue->last = queue->first ? queue->last : NULL;
    queue->count--;
    entry->newer = NULL;
    entry->stage = STAGE_IN_RUN;
    return entry;
}

static Py_ssize_t count_in_run(const run_object *self)
{
    Py_ssize_t count = self->under_way;
    for (int stage = STAGE_IN_RUN + 1; stage < STAGES; stage++) {
        count -= self->queues[stage].count;
    }
    return count;
}

static bool is_stopping(const run_object *self)
{
    return self->stopped || self->fatal_error;
}

/* ---- coming in ------------------------------------------------------------------------------- */

static int append(PyObject *method, PyObject *item)
{
    PyObject *done = item ? PyObject_CallFunctionObjArgs(method, item, NULL) : NULL;
    Py_XDECREF(item);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Has the attempt of a bill that is printed written down. */
static int open_attempt(run_object *self, const entry *entry, Py_ssize_t index)
{
    const char *form = PyUnicode_AsUTF8AndSize(self->form, NULL);
    PyObject *printed = form ? printed_of(entry->call, form) : NULL;
    PyObject *item = printed ? Py_BuildValue("(nOOid)", index, entry->subject, printed,
                                             entry->attempts, entry->began)
                             : NULL;
    Py_XDECREF(printed);
    return append(self->put_open, item);
}

/* Whether another bill may be taken: the disk is kept so far ahead of the network. */
bool run_journal_wants(const run_object *self)
{
    return self->queues[STAGE_OPENING].count + self->queues[STAGE_READY].count <
               WINDOWS_AHEAD * self->window &&
           !first(self, STAGE_AGAIN);
}

/* The pending bill is checked, printed, and handed to the disk. After a failure it is pending on.
 */
int run_journal_print(run_object *self)
{
    entry *entry =
        run_make_entry(self, self->pending, nontax_interface_find("insertbill"), self->pending);
    if (!entry) {
        return -1;
    }
    bool invalid = nontax_call_finished(entry->call);
    int failed = invalid ? run_enter(self, entry) : open_attempt(self, entry, self->pulled);
    if (failed) {
        nontax_call_free(entry->call);
        PyMem_Free(entry);
        return -1;
    }
    run_keep_entry(self, entry);
    if (!invalid) {
        put(self, entry, STAGE_OPENING);
    }
    Py_CLEAR(self->pending);
    return 0;
}

/* The first bill that is to go again is printed again. */
static int print_again(run_object *self)
{
    entry *old = first(self, STAGE_AGAIN);
    entry *fresh =
        run_make_entry(self, old->subject, nontax_interface_find("insertbill"), old->subject);
    if (!fresh) {
        return -1;
    }
    bool invalid = nontax_call_finished(fresh->call);
    fresh->began = old->began;
    fresh->attempts = old->attempts;
    int failed = invalid ? run_enter(self, fresh) : open_attempt(self, fresh, old->index);
    if (failed) {
        nontax_call_free(fresh->call);
    } else {
        (void)take(self, STAGE_AGAIN);
        old->call = fresh->call;
        nontax_call_set_owner(old->call, old);
        Py_CLEAR(old->fallback);
        if (!invalid) {
            put(self, old, STAGE_OPENING);
        }
    }
    PyMem_Free(fresh);
    return failed;
}

/* Asks for the bills once more that another run had under way. */
int run_journal_look_again(run_object *self)
{
    while (first(self, STAGE_ELSEWHERE)) {
        entry *entry = first(self, STAGE_ELSEWHERE);
        if (open_attempt(self, entry, entry->index) < 0) {
            return -1;
        }
        (void)take(self, STAGE_ELSEWHERE);
        Py_CLEAR(entry->fallback);
        put(self, entry, STAGE_OPENING);
    }
    return 0;
}

/* ---- what the disk has done ------------------------------------------------------------------ */

/* A bill is over. It is the first one of its stage. */
static int complete(run_object *self, stage stage, PyObject *outcome)
{
    if (run_give_outcome(self, outcome) < 0) {
        return -1;
    }
    entry *entry = take(self, stage);
    nontax_call_free(entry->call);
    run_forget_entry(self, entry);
    return 0;
}

/* It goes on later, or has this outcome if the run is stopped before. */
static void put_off(run_object *self, stage before, stage after, PyObject *outcome)
{
    entry *entry = take(self, before);
    Py_CLEAR(entry->claim);
    set_reference(&entry->fallback, outcome);
    put(self, entry, after);
}

/* Of a bill that is closing: its outcome; in a list, that with which it may go again; or None, and
 * it is among those of the journal's failure. */
static int take_closed(run_object *self, PyObject *answer)
{
    if (PyList_Check(answer)) {
        put_off(self, STAGE_CLOSING, STAGE_AGAIN, PyList_GetItem(answer, 0));
    } else if (answer == Py_None) {
        run_forget_entry(self, take(self, STAGE_CLOSING));
    } else {
        return complete(self, STAGE_CLOSING, answer);
    }
    return 0;
}

/* Of a bill that is opening: its claim, a tuple; its outcome; or that in a list: another run has it
 * under way. */
static int take_opened(run_object *self, PyObject *answer)
{
    if (PyTuple_Check(answer)) {
        int64_t attempt = PyLong_AsLongLong(PyTuple_GetItem(answer, 0));
        entry *entry = take(self, STAGE_OPENING);
        entry->claim = Py_NewRef(answer);
        entry->attempt = attempt;
        put(self, entry, STAGE_READY);
    } else if (PyList_Check(answer)) {
        put_off(self, STAGE_OPENING, STAGE_ELSEWHERE, PyList_GetItem(answer, 0));
    } else {
        return complete(self, STAGE_OPENING, answer);
    }
    return 0;
}

static int take_each(run_object *self, PyObject *answers, Py_ssize_t before,
                     int (*take_one)(run_object *, PyObject *))
{
    Py_ssize_t count = PyList_Size(answers);
    while (self->arrived_at - before < count) {
        if (take_one(self, PyList_GetItem(answers, self->arrived_at - before)) < 0) {
            return -1;
        }
        self->arrived_at++;
    }
    return 0;
}

static void fail(run_object *self, PyObject *failure)
{
    if (!self->fatal_error || self->fatal_error == self->failure) {
        set_reference(&self->fatal_error, failure);
    }
    if (!self->ended_by || self->ended_by == self->failure) {
        set_reference(&self->ended_by, failure);
    }
    set_reference(&self->failure, failure);
}

/* One answer: (those that were closing, those that were opening, the journal's failure or None,
 * until when nothing may begin). What was interrupted goes on where it was. */
static int take_arrived(run_object *self)
{
    PyObject *closed = PyTuple_GetItem(self->arrived, 0);
    PyObject *opened = PyTuple_GetItem(self->arrived, 1);
    PyObject *failure = PyTuple_GetItem(self->arrived, 2);
    double pause_until = PyFloat_AsDouble(PyTuple_GetItem(self->arrived, 3));
    if (take_each(self, closed, 0, take_closed) < 0 ||
        take_each(self, opened, PyList_Size(closed), take_opened) < 0) {
        return -1;
    }
    if (failure != Py_None) {
        fail(self, failure);
    }
    self->pause_until = pause_until > self->pause_until ? pause_until : self->pause_until;
    Py_CLEAR(self->arrived);
    return 0;
}

static int take_answers(run_object *self)
{
    self->woken = false;
    while (self->arrived || PyObject_Length(self->answers) > 0) {
        if (!self->arrived) {
            self->arrived = PyObject_CallMethod(self->answers, "popleft", NULL);
            self->arrived_at = 0;
            self->attending = false;
        }
        if (!self->arrived || take_arrived(self) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- coming out ------------------------------------------------------------------------------ */

static void take_finished(run_object *self)
{
    nontax_call *call;
    while ((call = nontax_run_finished(self->run))) {
        (void)nontax_run_take(self->run);
        put(self, nontax_call_owner(call), STAGE_FINISHED);
    }
}

/* The outcome of the first finished call goes to the disk, if there is an attempt of it. */
static int close_first(run_object *self)
{
    entry *entry = first(self, STAGE_FINISHED);
    PyObject *outcome = run_outcome_of(self, entry->call);
    int failed = -1;
    if (outcome && entry->claim) {
        failed = append(self->put_close, PyTuple_Pack(2, entry->claim, outcome));
    } else if (outcome) {
        failed = run_give_outcome(self, outcome);
    }
    Py_XDECREF(outcome);
    if (failed) {
        return -1;
    }
    (void)take(self, STAGE_FINISHED);
    entry->attempts += nontax_call_result(entry->call)->attempts;
    nontax_call_free(entry->call);
    entry->call = NULL;
    if (entry->claim) {
        put(self, entry, STAGE_CLOSING);
    } else {
        run_forget_entry(self, entry);
    }
    return 0;
}

int run_journal_collect(run_object *self)
{
    if (take_answers(self) < 0) {
        return -1;
    }
    take_finished(self);
    while (first(self, STAGE_FINISHED)) {
        if (close_first(self) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What has not begun does not begin any more. */
static int leave_the_rest(run_object *self)
{
    static const stage waiting[] = {STAGE_AGAIN, STAGE_ELSEWHERE};
    for (int i = 0; i < 2; i++) {
        while (first(self, waiting[i])) {
            PyObject *outcome = first(self, waiting[i])->fallback;
            if (complete(self, waiting[i], outcome) < 0) {
                return -1;
            }
        }
    }
    while (first(self, STAGE_READY)) {
        if (!nontax_call_finished(first(self, STAGE_READY)->call)) {
            nontax_call_cancel(first(self, STAGE_READY)->call);
        }
        if (run_enter(self, first(self, STAGE_READY)) < 0) {
            return -1;
        }
        (void)take(self, STAGE_READY);
    }
    return 0;
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* Has the journal know of bills that may leave the machine from now on: those for which there is
 * room, and a few more, which can begin without Python. A process that is killed leaves no more in
 * doubt than two windows. 1: it does; 0: it cannot, or not yet; -1: interrupted. */
static int mark_ready(run_object *self)
{
    if (first(self, STAGE_READY)->attempt <= self->marked) {
        return 1;
    }
    Py_ssize_t in_run = count_in_run(self);
    Py_ssize_t most = 2 * self->window - in_run - self->queues[STAGE_CLOSING].count;
    Py_ssize_t room = self->paced ? 1 : self->window - in_run + self->window / SHARE_AHEAD;
    room = room < most ? room : most;
    const entry *last = NULL;
    for (const entry *next = first(self, STAGE_READY); next && room > 0; next = next->newer) {
        last = next;
        room--;
    }
    if (!last || last->attempt <= self->marked) {
        return 0;
    }
    PyObject *marked = PyObject_CallFunctionObjArgs(self->mark, last->claim, NULL);
    int is_marked = marked ? PyObject_IsTrue(marked) : -1;
    Py_XDECREF(marked);
    self->marked = is_marked > 0 ? last->attempt : self->marked;
    return is_marked;
}

/* Begins what is marked, as far as the run takes it. Without Python. */
static int64_t begin_marked(run_object *self)
{
    while (first(self, STAGE_READY) && first(self, STAGE_READY)->attempt <= self->marked) {
        int64_t wait = nontax_run_wants_in(self->run);
        if (wait != 0) {
            return wait;
        }
        if (nontax_run_add(self->run, first(self, STAGE_READY)->call) != NONTAX_OK) {
            return -1;
        }
        (void)take(self, STAGE_READY);
    }
    return -1;
}

/* Begins what is ready, as far as the run takes it. *due_in: in how many ms it takes the next. */
static int begin_ready(run_object *self, int64_t *due_in)
{
    run_forget_old_token(self);
    if (first(self, STAGE_READY) && mark_ready(self) < 0) {
        return -1;
    }
    *due_in = begin_marked(self);
    return 0;
}

bool run_journal_go_on(run_object *self)
{
    take_finished(self);
    if (!is_stopping(self) && seconds_now() >= self->pause_until) {
        (void)begin_marked(self);
    }
    Py_ssize_t finished = self->queues[STAGE_FINISHED].count;
    return finished > 0 && (finished >= self->window / SHARE_AHEAD || !first(self, STAGE_READY) ||
                            first(self, STAGE_READY)->attempt > self->marked);
}

static void set_due(int64_t *due_in, double seconds)
{
    int64_t milliseconds = seconds > 0 ? (int64_t)(seconds * 1000) + 1 : 0;
    if (*due_in < 0 || milliseconds < *due_in) {
        *due_in = milliseconds;
    }
}

/* Has the disk's thread take what is there, if it is worth its while. */
static int attend_if_due(run_object *self, int64_t *due_in)
{
    Py_ssize_t opens = PyObject_Length(self->opens);
    Py_ssize_t waiting = opens + PyObject_Length(self->closes);
    double now = seconds_now();
    if (waiting == 0 || self->attending) {
        self->waits_since = 0;
        return 0;
    }
    self->waits_since = self->waits_since ? self->waits_since : now;
    Py_ssize_t in_run = count_in_run(self);
    bool is_short = opens > 0 && !first(self, STAGE_READY) && in_run < self->window;
    bool is_worth_it = waiting >= self->window || in_run == 0 || is_short || is_stopping(self);
    if (!is_worth_it && now < self->waits_since + LINGER) {
        set_due(due_in, self->waits_since + LINGER - now);
        return 0;
    }
    PyObject *done = PyObject_CallFunctionObjArgs(self->attend, NULL);
    self->attending = done != NULL; /* after an interruption once more, which does no harm */
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* All that can be done without waiting, but for taking another bill. *due_in: in how many ms
 * something is due that nobody wakes for. */
int run_journal_advance(run_object *self, int64_t *due_in)
{
    if (self->ending) {
        nontax_run_end(self->run);
    }
    if (run_journal_collect(self) < 0) {
        return -1;
    }
    double pause = self->pause_until - seconds_now();
    if (is_stopping(self)) {
        if (leave_the_rest(self) < 0 || run_journal_collect(self) < 0) {
            return -1;
        }
    } else if (pause > 0) {
        set_due(due_in, pause);
    } else {
        while (first(self, STAGE_AGAIN)) {
            if (print_again(self) < 0) {
                return -1;
            }
        }
        if (begin_ready(self, due_in) < 0) {
            return -1;
        }
    }
    return attend_if_due(self, due_in);
}

/* Whether all bills that are left are under way in other runs. */
bool run_journal_waits_for_others(const run_object *self)
{
    return self->under_way > 0 && self->queues[STAGE_ELSEWHERE].count == self->under_way;
}

/* Waits for those, as long as one look takes. -1: interrupted. */
int run_journal_wait_for_others(run_object *self)
{
    PyObject *done = PyObject_CallMethod(self->journal, "expire", NULL);
    Py_XDECREF(done);
    return !done || run_turn(self, LOOK_EVERY_MS) < 0 ? -1 : run_journal_look_again(self);
}

/* Waits until all is on disk. -1: interrupted, and to be called again. */
int run_journal_end(run_object *self)
{
    self->ending = true;
    for (;;) {
        int64_t wait_ms = -1;
        run_need need = run_feed(self, &wait_ms);
        if (need == NEED_END) {
            return 0;
        }
        if (need == NEED_FAILED || run_turn(self, wait_ms < 0 ? INT64_C(1000) : wait_ms) < 0) {
            return -1;
        }
    }
}

/* ---- methods --------------------------------------------------------------------------------- */

const char run_begin_end_doc[] =
    PyDoc_STR("_begin_end($self, /)\n--\n\n"
              "End the run: _feed() says \"end\" when the journal has all that is known.");

PyObject *run_begin_end(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    self->stopped = true;
    self->ending = true;
    return Py_NewRef(Py_None);
}

const char run_look_again_doc[] =
    PyDoc_STR("_look_again($self, /)\n--\n\n"
              "Ask the journal once more for the bills that other runs had under way.");

PyObject *run_look_again(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    int failed = run_journal_look_again(self);
    run_release(self);
    return failed ? NULL : Py_NewRef(Py_None);
}

const char run_wake_doc[] =
    PyDoc_STR("_wake($self, /)\n--\n\n"
              "The journal has answered, or there are bills again. For any thread.");

PyObject *run_wake(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    self->woken = true;
    nontax_run_wakeup(self->run);
    return Py_NewRef(Py_None);
}

/* Looks up what is used of a journal. */
int run_set_journal(run_object *self, PyObject *journal, int window, bool paced)
{
    self->window = window;
    self->paced = paced;
    self->journal = Py_NewRef(journal);
    self->form = PyObject_GetAttrString(journal, "form");
    self->attend = self->form ? PyObject_GetAttrString(journal, "attend") : NULL;
    self->mark = self->attend ? PyObject_GetAttrString(journal, "mark") : NULL;
    self->opens = self->mark ? PyObject_GetAttrString(journal, "opens") : NULL;
    self->closes = self->opens ? PyObject_GetAttrString(journal, "closes") : NULL;
    self->answers = self->closes ? PyObject_GetAttrString(journal, "answers") : NULL;
    self->put_open = self->answers ? PyObject_GetAttrString(self->opens, "append") : NULL;
    self->put_close = self->put_open ? PyObject_GetAttrString(self->closes, "append") : NULL;
    self->gathered = self->put_close ? PyList_New(0) : NULL;
    return self->gathered ? 0 : -1;
}
