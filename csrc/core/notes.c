/* notes.c: a client's ring of notes; see notes.h. */
#include "notes.h"

#include "call.h"

const char *nontax_note_kind_name(nontax_note_kind kind)
{
    static const char *const names[] = {"retry",       "token_refused", "pause",      "host_failed",
                                        "host_chosen", "fetched",       "not_fetched"};
    return names[kind];
}

/* Only constants: a result's own words may quote an answer. */
static const char *reason_of(const nontax_result *result)
{
    if (result->has_errcode || result->outcome == NONTAX_INSERTED) {
        return "";
    }
    if (result->timed_out) {
        return "timed out";
    }
    return result->curl_code ? curl_easy_strerror((CURLcode)result->curl_code) : "no usable answer";
}

/* A token that has ended is refused to all calls that are under way with it: one note says it. */
static bool is_said(const nx_notes *notes, int count, const nontax_note *note)
{
    if (note->kind != NONTAX_NOTE_TOKEN_REFUSED || count == 0) {
        return false;
    }
    const nontax_note *last = &notes->ring[(notes->oldest + count - 1) % NX_MAX_NOTES];
    return last->kind == note->kind && last->errcode == note->errcode;
}

static void add(nx_notes *notes, const nontax_note *note)
{
    int count = atomic_load(&notes->count);
    if (is_said(notes, count, note)) {
        return;
    }
    if (count == NX_MAX_NOTES) {
        notes->oldest = (notes->oldest + 1) % NX_MAX_NOTES;
        count--;
    }
    notes->ring[(notes->oldest + count) % NX_MAX_NOTES] = *note;
    atomic_store(&notes->count, count + 1);
}

void nx_note(const nontax_call *call, nontax_note_kind kind, int64_t wait_ms)
{
    nontax_client *client = call->client;
    const nontax_note note = {
        .kind = kind,
        .interface = call->interface,
        .host = client->base_urls[call->url],
        .reason = reason_of(&call->result),
        .errcode = call->result.has_errcode ? call->result.errcode : 0,
        .repeats = call->repeats,
        .wait_ms = wait_ms,
    };
    pthread_mutex_lock(&client->lock);
    add(&client->notes, &note);
    pthread_mutex_unlock(&client->lock);
}

bool nontax_client_take_note(nontax_client *client, nontax_note *note)
{
    nx_notes *notes = &client->notes;
    if (atomic_load_explicit(&notes->count, memory_order_relaxed) == 0) {
        return false;
    }
    pthread_mutex_lock(&client->lock);
    int count = atomic_load(&notes->count);
    if (count > 0) {
        *note = notes->ring[notes->oldest];
        notes->oldest = (notes->oldest + 1) % NX_MAX_NOTES;
        atomic_store(&notes->count, count - 1);
    }
    pthread_mutex_unlock(&client->lock);
    return count > 0;
}

void nx_notes_drop(nx_notes *notes)
{
    atomic_store(&notes->count, 0);
}
