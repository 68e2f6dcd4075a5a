/*
 * Memory pressure: cgroups of both versions, told by files that a test has made up.
 */
#include "lab.h"

#include <errno.h>
#include <string.h>

#include "cgroup.h"
#include "module.h"
#include "pressure.h"

#define SECOND UINT64_C(1000000000)
#define LIMIT_V1_NONE "9223372036854771712\n"

static struct file {
    const char *path, *text;
} files[32];
static unsigned questions;

static ssize_t told(const char *path, char *buf, size_t size)
{
    questions++;
    for (unsigned i = 0; i < 32 && files[i].path != NULL; i++) {
        if (strcmp(files[i].path, path) != 0)
            continue;
        size_t n = strlen(files[i].text);
        memcpy(buf, files[i].text, n < size ? n : size);
        return (ssize_t)(n < size ? n : size);
    }
    errno = ENOENT;
    return -1;
}

static void file(const char *path, const char *text)
{
    for (unsigned i = 0; i < 32; i++)
        if (files[i].path == NULL || strcmp(files[i].path, path) == 0) {
            files[i] = (struct file){path, text};
            return;
        }
    cr_assert_fail("too many files");
}

static void set_up(void)
{
    lab_init();
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    memset(files, 0, sizeof(files));
    questions = 0;
    ljt_kernel.read_file = told;
    ljt_pressure_forget();
}

TestSuite(cgroup, .init = set_up, .timeout = LAB_TIMEOUT);
TestSuite(pressure, .init = set_up, .timeout = LAB_TIMEOUT);

static void mount_v2(void)
{
    file("/proc/self/mountinfo", "22 1 0:20 / /proc rw shared:1 - proc proc rw\n"
                                 "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
}

static struct ljt_cgroup_place place;
static struct ljt_cgroup_use use;

static void look(pid_t pid)
{
    ljt_cgroup_find(&place, pid);
    ljt_cgroup_read(&place, &use);
}

/* ---- Where it is and what it says ---- */

Test(cgroup, v2_with_limits_on_the_way_up)
{
    mount_v2();
    file("/proc/77/cgroup", "0::/pod/box\n");
    file("/sys/fs/cgroup/pod/box/memory.stat", "anon 1000\nfile 500\nactive_file 1\ninactive_file 400\n");
    file("/sys/fs/cgroup/pod/box/memory.current", "2000\n");
    file("/sys/fs/cgroup/pod/box/memory.max", "max\n");
    file("/sys/fs/cgroup/pod/box/memory.high", "4000\n");
    file("/sys/fs/cgroup/pod/box/memory.pressure", "some avg10=12.34 avg60=0.00 avg300=0.00 total=1\n");
    file("/sys/fs/cgroup/pod/memory.max", "10000\n");
    file("/sys/fs/cgroup/pod/memory.current", "9000\n");
    look(77);
    cr_expect(place.version == 2 && strcmp(place.name, "/pod/box") == 0);
    cr_expect(strcmp(place.directory, "/sys/fs/cgroup/pod/box") == 0);
    cr_expect(use.charged == 2000 && use.anonymous == 1000 && use.limit == 10000 && use.high == 4000);
    cr_expect(use.used == 9000 && use.bound == 10000, "the pod is nearer its limit: %zu of %zu", use.used,
              use.bound);
    cr_expect(use.stalled == 1234);
    file("/sys/fs/cgroup/pod/memory.current", "1700\n");
    look(77);
    cr_expect(use.used == 1600 && use.bound == 4000, "without what of the page cache is inactive");
}

Test(cgroup, v1_beside_a_v2_without_controllers)
{
    file("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/\n0::/\n");
    file("/proc/self/mountinfo",
         "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
         "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,cpu,memory\n");
    file("/sys/fs/cgroup/memory/memory.stat", "cache 3\nrss 4\ntotal_rss 40\ntotal_inactive_file 10\n");
    file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "100\n");
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "200\n");
    look(0);
    cr_expect(place.version == 1 && strcmp(place.directory, "/sys/fs/cgroup/memory") == 0, "%s",
              place.directory);
    cr_expect(use.charged == 100 && use.anonymous == 40 && use.limit == 200 && use.high == SIZE_MAX);
    cr_expect(use.used == 90 && use.bound == 200);
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", LIMIT_V1_NONE);
    look(0);
    cr_expect(use.limit == SIZE_MAX && use.bound == SIZE_MAX);
}

Test(cgroup, none_is_no_error)
{
    look(0);
    cr_expect(place.version == 0 && use.limit == SIZE_MAX && use.bound == SIZE_MAX && use.stalled == 0);
    file("/proc/self/cgroup", "0::/\n");
    look(0);
    cr_expect(place.version == 0, "where it is mounted can't be known");
    mount_v2();
    look(0);
    cr_expect(place.version == 2 && use.limit == SIZE_MAX, "the root has no limit");
}

Test(cgroup, nonsense_is_survived)
{
    static const char *const nonsense[] = {"",
                                           "\n",
                                           ":",
                                           "::",
                                           "0:",
                                           "0::",
                                           "0::\n:::\n",
                                           "4:memory",
                                           "memory:memory:",
                                           "0::/../../..\n",
                                           " - ",
                                           "a - cgroup2",
                                           "a b c d e - cgroup2 x rw",
                                           " - cgroup2 x",
                                           "0 1 2 3 - cgroup2 x memory",
                                           "99999999999999999999999999999999999999",
                                           "some avg10=",
                                           "some avg10=1.x",
                                           "some avg10=999999999999.99",
                                           "max",
                                           "-1",
                                           "anon",
                                           "anon ",
                                           "inactive_file x"};
    enum { N = sizeof(nonsense) / sizeof(nonsense[0]) };
    lab_seed("cgroup: nonsense");
    for (int round = 0; round < 20000; round++) {
        memset(files, 0, sizeof(files));
        static const char *const path[] = {"/proc/self/cgroup", "/proc/self/mountinfo", "e/memory.stat",
                                           "e/memory.max",      "e/memory.current",     "e/memory.high",
                                           "e/memory.pressure", "/memory.max"};
        for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++)
            file(path[i], nonsense[lab_below(N)]);
        look(0);
        cr_assert(use.stalled <= 10000 && place.version >= 0 && place.version <= 2);
    }
}

Test(cgroup, this_machine_has_one_or_none)
{
    lab_init(); /* the real files */
    look(0);
    cr_expect(place.version >= 0 && place.version <= 2);
    if (place.version != 0)
        cr_expect(use.charged > 0 || use.bound == SIZE_MAX);
}

/* ---- The level ---- */

Test(pressure, levels_have_a_slip)
{
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NONE, 74, 100, 0) == LJT_PRESSURE_NONE);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NONE, 75, 100, 0) == LJT_PRESSURE_NEAR);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NEAR, 89, 100, 0) == LJT_PRESSURE_NEAR);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NEAR, 90, 100, 0) == LJT_PRESSURE_HIGH);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_HIGH, 85, 100, 0) == LJT_PRESSURE_HIGH);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_HIGH, 84, 100, 0) == LJT_PRESSURE_NEAR);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NEAR, 69, 100, 0) == LJT_PRESSURE_NONE);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NONE, 1000, SIZE_MAX, 0) == LJT_PRESSURE_NONE, "no limit");
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NONE, 0, SIZE_MAX, LJT_PRESSURE_STALLED) == LJT_PRESSURE_HIGH);
    cr_expect(ljt_pressure_judge(LJT_PRESSURE_NONE, 1, 0, 0) == LJT_PRESSURE_HIGH, "a limit of nothing");
}

static void box(const char *current)
{
    mount_v2();
    file("/proc/self/cgroup", "0::/box\n");
    file("/sys/fs/cgroup/box/memory.stat", "anon 1\n");
    file("/sys/fs/cgroup/box/memory.max", "100\n");
    file("/sys/fs/cgroup/box/memory.current", current);
}

Test(pressure, is_asked_for_once_a_second)
{
    box("10\n");
    cr_expect(ljt_pressure_check(5 * SECOND) == LJT_PRESSURE_NONE);
    unsigned asked = questions;
    box("95\n");
    cr_expect(ljt_pressure_check(5 * SECOND + SECOND / 2) == LJT_PRESSURE_NONE && questions == asked);
    cr_expect(ljt_pressure_check(6 * SECOND) == LJT_PRESSURE_HIGH &&
              ljt_pressure_level() == LJT_PRESSURE_HIGH);
    asked = questions;
    ljt_pressure_check(6 * SECOND + SECOND / 4);
    cr_expect(questions > asked, "sooner when it is there");
}

/* What was given back because of it must not end it half-way. */
Test(pressure, goes_on_for_a_while_when_usage_has_come_down)
{
    box("95\n");
    cr_expect(ljt_pressure_check(5 * SECOND) == LJT_PRESSURE_HIGH);
    box("50\n");
    for (unsigned i = 1; i < 8; i++)
        cr_expect(ljt_pressure_check(5 * SECOND + i * SECOND / 4) == LJT_PRESSURE_HIGH, "%u", i);
    cr_expect(ljt_pressure_check(7 * SECOND) == LJT_PRESSURE_NONE);
    box("80\n");
    cr_expect(ljt_pressure_check(8 * SECOND) == LJT_PRESSURE_NEAR, "NEAR does not linger");
    box("50\n");
    cr_expect(ljt_pressure_check(8 * SECOND + SECOND / 4) == LJT_PRESSURE_NONE);
}

Test(pressure, is_asked_for_more_often_once_half_of_the_limit_is_in_use)
{
    box("49\n");
    cr_expect(ljt_pressure_pulse(true) == SECOND, "no limit is known");
    ljt_pressure_check(5 * SECOND);
    cr_expect(ljt_pressure_pulse(false) == SECOND && ljt_pressure_pulse(true) == SECOND / 4);
    unsigned asked = questions;
    ljt_pressure_check(5 * SECOND + SECOND / 2);
    cr_expect(questions == asked && ljt_pressure_pulse(false) == SECOND);
    box("50\n");
    ljt_pressure_check(6 * SECOND);
    cr_expect(questions > asked && ljt_pressure_pulse(false) == SECOND / 4);
    box("95\n");
    cr_expect(ljt_pressure_check(6 * SECOND + SECOND / 4) == LJT_PRESSURE_HIGH);
}

Test(pressure, is_asked_for_more_often_when_a_vm_may_have_come_to_half_of_the_limit)
{
    box("10\n");
    ljt_pressure_check(5 * SECOND);
    unsigned asked = questions;
    atomic_fetch_add(&ljt_modules[1].mapped, 39);
    ljt_pressure_check(5 * SECOND + SECOND / 4);
    cr_expect(questions == asked);
    box("95\n");
    atomic_fetch_add(&ljt_modules[2].mapped, 1);
    cr_expect(ljt_pressure_check(5 * SECOND + SECOND / 4 - 1) == LJT_PRESSURE_NONE && questions == asked);
    cr_expect(ljt_pressure_check(5 * SECOND + SECOND / 4) == LJT_PRESSURE_HIGH);
}

Test(pressure, can_be_switched_off)
{
    ljt_config.pressure = LJT_PRESSURE_OFF;
    box("95\n");
    cr_expect(ljt_pressure_check(5 * SECOND) == LJT_PRESSURE_NONE && questions == 0);
}

Test(pressure, the_machine_s_stalls_count_where_no_limit_is)
{
    file("/proc/pressure/memory", "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
    cr_expect(ljt_pressure_check(5 * SECOND) == LJT_PRESSURE_HIGH);
    box("10\n");
    ljt_pressure_forget();
    cr_expect(ljt_pressure_check(5 * SECOND) == LJT_PRESSURE_NONE, "one's own limit says more");
}
