/* run_locked SCRIPT [ARG ...]: as run_lua, with all of its memory locked, now and as it comes. */
#include <sys/mman.h>

#include "run_script.h"

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: run_locked SCRIPT [ARG ...]");
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        die("mlockall: %s", strerror(errno));
    return run_script(argc - 1, argv + 1);
}
