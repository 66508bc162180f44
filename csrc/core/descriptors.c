/* descriptors.c: whether this process can open another file or socket. */
#include "descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_COUNT = 8 }; /* twice what a caller asks for: a name look-up needs most */

const char nx_no_descriptor[] = "no file descriptor is left (EMFILE): close connections and files, "
                                "or raise the limit (ulimit -n)";

bool nx_is_short_of_descriptors(int error)
{
    return error == EMFILE || error == ENFILE;
}

bool nx_descriptors_are_short(int count)
{
    int opened[MAX_COUNT], so_many = 0, error = 0;
    while (so_many < count && so_many < MAX_COUNT && !error) {
        int descriptor =
            so_many == 0 ? socket(AF_UNIX, SOCK_STREAM, 0) : fcntl(opened[0], F_DUPFD_CLOEXEC, 0);
        if (descriptor >= 0) {
            opened[so_many++] = descriptor;
        } else {
            error = errno;
        }
    }
    while (so_many > 0) {
        close(opened[--so_many]);
    }
    return nx_is_short_of_descriptors(error);
}
