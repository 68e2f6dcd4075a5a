#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lab.h"

struct fault_plan fault_plan;
struct ljt_kernel fault_real;
char *fault_why;

/* Shared with the process that has the fault. */
static struct tally {
    _Atomic unsigned calls, faults;
    char why[FAULT_WHY];
} * tally;

bool fault_strikes(const struct fault_call *call)
{
    if (fault_plan.call != call)
        return false;
    unsigned n = atomic_fetch_add(&tally->calls, 1) + 1;
    if (n != fault_plan.nth && !(fault_plan.onwards && n > fault_plan.nth))
        return false;
    atomic_fetch_add(&tally->faults, 1);
    errno = fault_plan.error;
    return true;
}

unsigned fault_count(void)
{
    return atomic_load(&tally->faults);
}

/* Leaves the line `name,value` in build/results/faults.csv, in the place of an earlier one. */
static void record(const char *name, unsigned value)
{
    static const char library[] = LJT_LIBRARY;
    char path[sizeof(library) + 32], text[16384] = "", *line = text, *next;
    size_t length = strlen(name);
    snprintf(path, sizeof(path), "%.*s/results", (int)(strrchr(library, '/') - library), library);
    (void)mkdir(path, 0755);
    strcat(path, "/faults.csv");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) != 0)
        return;
    ssize_t n = read(fd, text, sizeof(text) - 200);
    text[n > 0 ? n : 0] = '\0';
    while ((next = strchr(line, '\n')) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ',')
            memmove(line, next + 1, strlen(next + 1) + 1);
        else
            line = next + 1;
    }
    line += sprintf(line, "%s,%u\n", name, value);
    if (ftruncate(fd, 0) == 0)
        (void)!pwrite(fd, text, (size_t)(line - text), 0);
    close(fd);
}

static unsigned faults_of_one_run(void (*live)(void))
{
    memset(tally, 0, sizeof(*tally));
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        alarm(200);
        live();
        _exit(0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    cr_expect(status == 0, "%s: %s at call %u%s: status %#x: %s", fault_plan.call->name,
              fault_plan.error == PARTLY ? "partly done" : strerror(fault_plan.error), fault_plan.nth,
              fault_plan.onwards ? " and later" : "", (unsigned)status, tally->why);
    return atomic_load(&tally->faults);
}

void fault_each(const struct fault_call *call, unsigned most, const char *note, void (*live)(void))
{
    static const unsigned nth[] = {1, 2, 3, 10};
    char name[64];
    unsigned runs = 0, faults = 0;
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(tally != MAP_FAILED);
    fault_why = tally->why;
    fault_plan.call = call;
    for (const int *error = call->errors; *error >= 0 && error < call->errors + most; error++) {
        fault_plan.error = *error;
        for (unsigned i = 0; i < (LAB_SLOWNESS == 1 ? 4 : 1); i++) {
            fault_plan.nth = nth[i];
            fault_plan.onwards = false;
            unsigned n = faults_of_one_run(live);
            faults += n;
            runs += n != 0; /* else there were not so many calls */
        }
        fault_plan.nth = 1;
        fault_plan.onwards = true;
        unsigned n = faults_of_one_run(live);
        cr_expect(n != 0, "%s%s is never called", call->name, note);
        faults += n;
        runs += n != 0;
    }
    snprintf(name, sizeof(name), "runs_%s%s", call->name, note);
    record(name, runs);
    snprintf(name, sizeof(name), "faults_%s%s", call->name, note);
    record(name, faults);
}
