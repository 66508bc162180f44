/* problems.c: all that is wrong with a payload, and where. */
#include "problems.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "text.h"

enum { MAX_PROBLEMS = 100 }; /* more help nobody */

nontax_status nontax_problems_add(nontax_problems *problems, const char *path, const char *message)
{
    if (problems->count >= MAX_PROBLEMS) {
        return NONTAX_OK;
    }
    if (problems->count + 1 == MAX_PROBLEMS) {
        path = "";
        message = "there are more problems than are listed here";
    }
    if (problems->count == problems->capacity) {
        size_t capacity = problems->capacity ? 2 * problems->capacity : 8;
        nontax_problem *grown = nx_realloc(problems->list, capacity * sizeof *grown);
        if (!grown) {
            return NONTAX_NO_MEMORY;
        }
        problems->list = grown;
        problems->capacity = capacity;
    }
    char short_path[NX_MAX_PATH];
    nx_text_copy(short_path, sizeof short_path, path, strlen(path));
    nontax_problem problem = {nx_strdup(short_path), nx_strdup(message)};
    if (problem.message) { /* a name in it may have been cut in the middle of a character */
        nx_text_copy(problem.message, strlen(message) + 1, message, strlen(message));
    }
    if (!problem.path || !problem.message) {
        nx_free(problem.path);
        nx_free(problem.message);
        return NONTAX_NO_MEMORY;
    }
    problems->list[problems->count++] = problem;
    return NONTAX_OK;
}

void nx_problems_free(nontax_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        nx_free(problems->list[i].path);
        nx_free(problems->list[i].message);
    }
    nx_free(problems->list);
    *problems = (nontax_problems){0};
}

void nx_join_path(char *target, const char *parent, const char *name)
{
    char clean[96], joined[NX_MAX_PATH + sizeof clean + 1];
    nx_text_copy(clean, sizeof clean, name, strlen(name));
    snprintf(joined, sizeof joined, "%.*s%s%s", NX_MAX_PATH, parent, *parent ? "." : "",
             *clean ? clean : "\"\"");
    nx_text_copy(target, NX_MAX_PATH, joined, strlen(joined));
}

static void write_path(const nx_place *here, char *target)
{
    *target = '\0';
    if (here->above) {
        char parent[NX_MAX_PATH], index[16];
        write_path(here->above, parent);
        snprintf(index, sizeof index, "%d", here->index);
        nx_join_path(target, parent, here->name ? here->name : index);
    }
}

void nx_report_problem(nx_report *report, const nx_place *here, const char *message)
{
    char path[NX_MAX_PATH];
    write_path(here, path);
    nontax_status status = nontax_problems_add(report->problems, path, message);
    if (status != NONTAX_OK) {
        report->status = status;
    }
}
