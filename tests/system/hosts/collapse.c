/*
 * collapse PID: makes huge pages of a process's anonymous memory, as khugepaged would in hours (MADV_COLLAPSE, Linux 6.1).
 * Prints how many bytes the kernel took on; status 77 where it has no such thing or we may not.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { HUGE_PAGE = 2 << 20, UNKNOWN_HERE = 77 };

int main(int argc, char **argv)
{
    char path[64], line[512];
    if (argc != 2 || snprintf(path, sizeof(path), "/proc/%d/maps", atoi(argv[1])) < 0)
        return 2;
    FILE *maps = fopen(path, "r");
    long target = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    if (maps == NULL || target < 0) {
        perror("collapse");
        return 1;
    }
    uint64_t done = 0;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t lo, hi;
        int end = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " rw-p %*s %*s 0 %n", &lo, &hi, &end) < 2 || end == 0 ||
            line[end] != '\0')
            continue;
        lo = (lo + HUGE_PAGE - 1) & -(uintptr_t)HUGE_PAGE;
        for (; lo + HUGE_PAGE <= hi; lo += HUGE_PAGE) {
            struct iovec huge = {(void *)lo, HUGE_PAGE};
            ssize_t n = syscall(SYS_process_madvise, target, &huge, 1, MADV_COLLAPSE, 0);
            if (n < 0 && (errno == EPERM || errno == ENOSYS || (errno == EINVAL && done == 0))) {
                fprintf(stderr, "collapse: %s\n", strerror(errno));
                return UNKNOWN_HERE;
            }
            done += n > 0 ? (uint64_t)n : 0;
        }
    }
    fclose(maps);
    printf("%" PRIu64 "\n", done);
    return 0;
}
