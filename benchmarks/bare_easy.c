/* bare_easy.c: the least a C program can do: curl_easy_perform, one bill at a time. */
#include "bare.h"

int main(int count, char **arguments)
{
    bare_job job = bare_begin(count, arguments);
    bare_reply reply = {.size = 0};
    CURL *easy = bare_handle(&job, &reply);
    bare_clock start = {0};
    for (long i = 0; i < job.warm_up + job.bills; i++) {
        if (i == job.warm_up) {
            start = bare_now(&job);
        }
        CURLcode code = curl_easy_perform(easy);
        bare_check(easy, code, &reply);
    }
    bare_end(&job, start);
    curl_easy_cleanup(easy);
    curl_global_cleanup();
    return 0;
}
