/* What the kernel and its limits mean for libljtrim, tried out in this process. */
#include "cgroup.h"
#include "commands.h"
#include "doctor.h"
#include "kernel.h"
#include "text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

void ljt_doctor_check_library(struct ljt_doctor *d)
{
    char path[LJT_OBJECT_PATH];
    if (ljt_find_library(path, sizeof(path)) == 0)
        ljt_found(d, LJT_LEVEL_OK, "libljtrim", NULL, "%s", path);
    else
        ljt_found(d, LJT_LEVEL_TODO, "libljtrim", "make install, or put it beside the command ljtrim",
                  "libljtrim.so is not where 'ljtrim run' looks for it");
}

static bool wipe_on_fork(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool works = p != MAP_FAILED && madvise(p, page, MADV_WIPEONFORK) == 0;
    if (p != MAP_FAILED)
        munmap(p, page);
    return works;
}

static bool advise_itself(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct iovec range = {p, page};
    bool works = p != MAP_FAILED && ljt_kernel.process_madvise(&range, 1, MADV_DONTNEED) == (ssize_t)page;
    if (p != MAP_FAILED)
        munmap(p, page);
    return works;
}

/* The word in brackets of a file like "always [madvise] never", or a whole line without brackets. */
static bool read_choice(const char *path, char *choice, size_t size)
{
    char line[256];
    FILE *f = fopen(path, "re");
    bool read = f != NULL && fgets(line, sizeof(line), f) != NULL;
    if (f != NULL)
        fclose(f);
    if (!read)
        return false;
    const char *from = strchr(line, '[');
    from = from == NULL ? line : from + 1;
    snprintf(choice, size, "%.*s", (int)strcspn(from, "]\n"), from);
    return true;
}

static void check_huge_pages(struct ljt_doctor *d)
{
    static const char directory[] = "/sys/kernel/mm/transparent_hugepage/";
    char path[128], enabled[32], holes[32] = "511";
    snprintf(path, sizeof(path), "%senabled", directory);
    if (!read_choice(path, enabled, sizeof(enabled))) {
        ljt_found(d, LJT_LEVEL_OK, "huge pages", NULL, "none in this kernel");
        return;
    }
    snprintf(path, sizeof(path), "%skhugepaged/max_ptes_none", directory);
    (void)read_choice(path, holes, sizeof(holes));
    if (strcmp(enabled, "always") != 0)
        ljt_found(d, LJT_LEVEL_OK, "huge pages", NULL, "transparent ones: %s", enabled);
    else
        ljt_found(d, LJT_LEVEL_NOTE, "huge pages",
                  strcmp(holes, "0") == 0 ? NULL
                                          : "if RSS comes back while the program is quiet: "
                                            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                  "transparent ones: always; khugepaged may fill purged holes again (max_ptes_none %s)",
                  holes);
}

void ljt_doctor_check_machine(struct ljt_doctor *d)
{
    struct utsname u;
    uname(&u);
    ljt_kernel_init();
    ljt_kernel_probe();
    ljt_found(d, LJT_LEVEL_OK, "kernel", NULL, "%s %s %s, pages of %zu KiB", u.sysname, u.release, u.machine,
              ljt_page_size >> 10);
    if (ljt_kernel_facts.dontneed_zeroes)
        ljt_found(d, LJT_LEVEL_OK, "", NULL, "MADV_DONTNEED returns memory");
    else
        ljt_found(d, LJT_LEVEL_TODO, "", "run it on a kernel, not on an emulator of its system calls",
                  "MADV_DONTNEED does not give zeroed pages: libljtrim will purge nothing");
    if (ljt_kernel_facts.membarrier)
        ljt_found(d, LJT_LEVEL_OK, "", NULL, "membarrier: quiet VMs can be purged, too");
    else
        ljt_found(d, LJT_LEVEL_TODO, "",
                  "allow membarrier in the seccomp profile, or use Linux 4.14 or later",
                  "no membarrier: a VM is purged only while it runs Lua");
    if (wipe_on_fork())
        ljt_found(d, LJT_LEVEL_OK, "", NULL, "MADV_WIPEONFORK: forks of every kind are noticed");
    else
        ljt_found(d, LJT_LEVEL_NOTE, "", NULL, "no MADV_WIPEONFORK (Linux 4.14): only fork() is noticed");
    ljt_found(d, LJT_LEVEL_OK, "", NULL, "%s",
              advise_itself() ? "process_madvise: many pages with one call"
                              : "no process_madvise on itself (Linux 6.15): madvise is used");
    check_huge_pages(d);
}

void ljt_doctor_check_cgroup(struct ljt_doctor *d)
{
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    struct ljt_cgroup_place place;
    struct ljt_cgroup_use c;
    ljt_cgroup_find(&place, d->pid);
    ljt_cgroup_read(&place, &c);
    if (place.version == 0) {
        ljt_found(d, LJT_LEVEL_OK, "cgroup", NULL, "no memory controller");
        return;
    }
    ljt_text_printf(&t, "v%d, ", place.version);
    ljt_text_bytes(&t, c.charged);
    ljt_text_string(&t, " charged, ");
    if (c.limit == SIZE_MAX) {
        ljt_text_string(&t, "no limit");
    } else {
        ljt_text_string(&t, "limit ");
        ljt_text_bytes(&t, c.limit);
    }
    if (c.high != SIZE_MAX) {
        ljt_text_string(&t, ", memory.high ");
        ljt_text_bytes(&t, c.high);
    }
    bool close = c.limit != SIZE_MAX && c.charged > c.limit / 10 * 9;
    ljt_found(d, close ? LJT_LEVEL_NOTE : LJT_LEVEL_OK, "cgroup", NULL, "%s%s", buf,
              close ? ": close to the limit" : "");
}
