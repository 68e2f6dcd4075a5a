/*
 * What fuzzing stands on: each target of tests/fuzz answers every file of its corpus, and mutations of them. (The ELF
 * files of symtab: test_symtab.c.) UPDATE_CORPUS=1 writes the corpora's own beginnings anew; what libFuzzer has found
 * besides stays. TEST_SEED=n repeats a run, TEST_MUTATIONS=n sets how many there are of each file.
 */
#include "lab.h"

#include <dirent.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "stats_page.h"

TestSuite(corpora, .init = lab_init, .timeout = LAB_TIMEOUT);

typedef int target_fn(const uint8_t *bytes, size_t n);

static unsigned replay(const char *corpus, target_fn *target, size_t mutations)
{
    static unsigned char bytes[1 << 17], copy[sizeof(bytes)];
    static const uint64_t odd[] = {0, 1, 7, 8, 0x7fffffff, 0xffffffff, UINT64_MAX, 0x8000000000000000};
    char name[512];
    unsigned files = 0;
    snprintf(name, sizeof(name), "%s/%s", LJT_CORPUS, corpus);
    DIR *d = opendir(name);
    cr_assert(d != NULL, "%s", name);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        snprintf(name, sizeof(name), "%s/%s/%s", LJT_CORPUS, corpus, entry->d_name);
        FILE *f = entry->d_name[0] == '.' ? NULL : fopen(name, "re");
        if (f == NULL)
            continue;
        size_t n = fread(bytes, 1, sizeof(bytes), f);
        fclose(f);
        files++;
        target(bytes, n);
        for (size_t i = 0; i < mutations && n > 0; i++) {
            memcpy(copy, bytes, n);
            for (uint64_t hits = 1 + lab_below(4); hits > 0; hits--) {
                size_t at = lab_below(n), width = (size_t)1 << lab_below(4);
                uint64_t value = lab_below(2) ? lab_random() : odd[lab_below(8)];
                memcpy(copy + at, &value, width < n - at ? width : n - at);
            }
            target(copy, lab_below(8) == 0 ? lab_below(n) : n);
        }
    }
    closedir(d);
    return files;
}

static void replay_all(const char *corpus, target_fn *target)
{
    lab_seed(corpus);
    ljt_fuzz_accepted = 0;
    cr_expect(replay(corpus, target, 0) >= 4, "the corpus of %s", corpus);
    cr_expect(ljt_fuzz_accepted > 0, "%s: nothing was taken for the real thing", corpus);
    replay(corpus, target, lab_count("TEST_MUTATIONS", 20));
}

Test(corpora, object_survives_every_file)
{
    replay_all("object", ljt_fuzz_object);
    replay("symtab", ljt_fuzz_object, 0);
}
Test(corpora, config_keeps_its_promises_for_every_environment)
{
    replay_all("config", ljt_fuzz_config);
}
Test(corpora, cgroup_keeps_its_promises_for_every_file)
{
    replay_all("cgroup", ljt_fuzz_cgroup);
}
Test(corpora, statistics_of_a_process_that_lies_are_harmless)
{
    replay_all("stats_page", ljt_fuzz_stats_page);
}
Test(corpora, heaps_that_lie_are_told_from_sound_ones)
{
    replay_all("heap", ljt_fuzz_heap);
}
Test(corpora, frames_of_a_vm_that_lies_are_harmless)
{
    replay_all("frames", ljt_fuzz_frames);
}

Test(corpora, configuration_of_an_nginx_that_lies_is_harmless)
{
    replay_all("nginx_conf", ljt_fuzz_nginx_conf);
}

/* ---- The corpora's beginnings ---- */

static void save(const char *corpus, const char *name, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s/%s", LJT_CORPUS, corpus, name);
    FILE *f = fopen(path, "we");
    cr_assert(f != NULL && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s", path);
}

static void save_text(const char *corpus, const char *name, const char *text)
{
    save(corpus, name, text, strlen(text));
}

static void save_configurations(void)
{
    save_text("config", "good",
              "PATH=/bin\nLJTRIM_ENABLE=1\nLJTRIM_MODE=native\nLJTRIM_DECAY_MS=0\nLJTRIM_MIN_RECLAIM=16M\n"
              "LJTRIM_MAX_CPU_PCT=2.5\nLJTRIM_SIGNAL=RTMIN+3\nLJTRIM_LOG=/var/log/"
              "x.%p\nLJTRIM_DEBUG=poison,verify\n"
              "LJTRIM_STATS_FORMAT=json\nLJTRIM_STATS_FILE=/run/x.%p.prom\nLJTRIM_GROWTH=on\n");
    save_text("config", "bad",
              "LJTRIM_ENABLE=yes\nLJTRIM_MODE=\nLJTRIM_DECAY_MS=-1\nLJTRIM_MIN_RECLAIM=99999999999G\n"
              "LJTRIM_MAX_CPU_PCT=1.\nLJTRIM_SIGNAL=KILL\nLJTRIM_LOG=%s\nLJTRIM_DEBUG=poison,\nLJTRIM_LOG_"
              "LEVEL=\x1b[31m\n");
    save_text("config", "names",
              "LJTRIM_=\nLJTRIM_DECAY=1\nLJTRIM_LOGLEVEL=1\nLJTRIM\nLJTRIM_"
              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=1\n"
              "LJTRIM_DECAY_MS=1\nLJTRIM_DECAY_MS=2\n=\n");
    save_text("config", "calls",
              "LJTRIM_DECAY_MS=5\n!decay_ms=7\n!LJTRIM_RETAIN_PCT=12.25\n!min_reclaim=1G\n!log_level=debug\n!"
              "mode=off\n"
              "!log=/x\n!nothing=1\n!gc_nudge=ON\n!interval_ms=\n!=\n!stats_at_exit=1\n");
}

#define V2_MOUNTS                                              \
    "36 35 98:0 / / rw,noatime master:1 - ext3 /dev/root rw\n" \
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void save_cgroups(void)
{
    save_text("cgroup", "v2",
              "0::/app/web\n\f" V2_MOUNTS "\fanon 1000000\nfile 5\ninactive_file 4096\n\f"
              "some avg10=12.34 avg60=0.00 avg300=0.00 total=5\nfull "
              "avg10=0.00\n\f1073741824\n\fmax\n\f\f805306368\n");
    save_text("cgroup", "v1",
              "5:memory:/docker/abc\n0::/\n\f33 30 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup "
              "rw,memory\n\f"
              "total_rss 77\ntotal_inactive_file 5\n\f\f\f\f9223372036854771712\n\f99999999\n");
    save_text("cgroup", "elsewhere",
              "0::/../../x\n\f" V2_MOUNTS "\f\fsome avg10=9999999.99\n\f5\n\f4\n\f\f7\n");
    save_text("cgroup", "broken",
              "::::\n0:\n0::\f - \n - cgroup2 x y\n1 2 3 4 5 - cgroup2 x y\n\f\fsome avg10=");
}

/* ---- A library's memory ---- */

static void save_stats_pages(void)
{
    enum { SEGMENTS = 64, DYNAMIC = 256, SYMBOLS = 384, STRINGS = 512, PAGE = 640, FIELDS = 1024 };
    static unsigned char image[64 << 10];
    uint64_t base = LJT_FUZZ_LIBRARY;
    Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
                         .e_phoff = SEGMENTS,
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = 2};
    Elf64_Phdr segment[2] = {{.p_type = PT_LOAD}, {.p_type = PT_DYNAMIC, .p_vaddr = DYNAMIC}};
    Elf64_Dyn dynamic[4] = {{DT_SYMTAB, {base + SYMBOLS}}, {DT_STRTAB, {base + STRINGS}}, {DT_STRSZ, {64}}};
    static const char strings[64] = "\0ljtrim_stats_page\0ljtrim_growth_page";
    size_t names = sizeof(struct ljt_stats_field) * LJT_STATS_FIELDS, growth = FIELDS + names;
    size_t snapshot = growth + 64;
    Elf64_Sym symbol[3] = {{0},
                           {.st_name = 1, .st_shndx = 1, .st_value = PAGE},
                           {.st_name = 19, .st_shndx = 1, .st_value = growth}};
    struct ljt_stats_page page = {.magic = LJT_STATS_MAGIC,
                                  .layout = LJT_STATS_LAYOUT,
                                  .fields = LJT_STATS_FIELDS,
                                  .field_size = sizeof(struct ljt_stats_field),
                                  .buckets = LJT_HISTOGRAM_BUCKETS,
                                  .rows = 2,
                                  .module_size = sizeof(struct ljt_stats_module),
                                  .sequence = 2,
                                  .field = (void *)(base + FIELDS),
                                  .snapshot = (void *)(base + snapshot)};
    uint64_t grown[5] = {0x6874776f7267746au, 2, 1, 5, 0x6f6c6c6568};
    memcpy(image, &header, sizeof(header));
    memcpy(image + SEGMENTS, segment, sizeof(segment));
    memcpy(image + DYNAMIC, dynamic, sizeof(dynamic));
    memcpy(image + SYMBOLS, symbol, sizeof(symbol));
    memcpy(image + STRINGS, strings, sizeof(strings));
    memcpy(image + PAGE, &page, sizeof(page));
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) /* the names alone: pointers differ from run to run */
        memcpy(image + FIELDS + i * sizeof(struct ljt_stats_field), ljt_stats_fields[i].name,
               LJT_STATS_NAME_SIZE);
    memcpy(image + growth, grown, sizeof(grown));
    size_t rows = snapshot + offsetof(struct ljt_stats_snapshot, total), row = 8 * LJT_STATS_FIELDS;
    size_t end = rows + 3 * row + 8 + sizeof(struct ljt_stats_module);
    memcpy(image + snapshot, "1.2.3", 6);
    image[snapshot + 16] = 2; /* arenas */
    for (size_t at = rows; at < rows + 3 * row; at += 8)
        image[at] = (unsigned char)(at / 8);
    image[rows + 3 * row] = 1; /* modules */
    memcpy(image + rows + 3 * row + 8, "libluajit-5.1.so.2", 19);
    save("stats_page", "sound", image, end);
    image[PAGE + offsetof(struct ljt_stats_page, sequence)] = 3;
    image[snapshot + 16] = 0xff;
    memset(image + rows + 3 * row, 0xff, 8 + sizeof(struct ljt_stats_module));
    save("stats_page", "torn", image, end);
    image[PAGE + offsetof(struct ljt_stats_page, layout)] = 9;
    save("stats_page", "layout", image, snapshot);
    header.e_phnum = 0xffff;
    memcpy(image, &header, sizeof(header));
    save("stats_page", "segments", image, snapshot);
}

/* ---- Heaps ---- */

static struct ljt_fuzz_word word[512];
static size_t words;

static void put(uint64_t offset, uint64_t value)
{
    word[words++] = (struct ljt_fuzz_word){offset, value};
}

#define STATE(field) (LJT_LJ_MEM_OFFSET + offsetof(struct ljt_lj_state, field))
static const uint64_t heap = LJT_FUZZ_HEAP, segment_size = LJT_LJ_GRANULARITY;

/* One segment: the state, a chunk in use, a large free one, one in use, a small free one, one in use, and top. */
static void put_heap(void)
{
    uint64_t at = 0, size = 20000, index = ljt_lj_tree_index(20000), bin = ljt_lj_small_index(96);
    words = 0;
    put(8, LJT_LJ_STATE_CHUNK | 3);
    put(at = LJT_LJ_STATE_CHUNK + 8, 0x200 | 3);
    at += 0x200; /* the large one's head */
    uint64_t large = at - 8;
    put(at, size | 1);
    put(at + 8, heap + large), put(at + 16, heap + large);
    put(at + 40, heap + STATE(treebins[index]));
    put(at + 48, index);
    put(STATE(treebins[index]), heap + large);
    at += size;
    put(at - 8, size), put(at, 0x100 | 2);
    at += 0x100;
    uint64_t small = at - 8, ring = STATE(smallbins[2 * bin]);
    put(at, 96 | 1), put(at + 8, heap + ring), put(at + 16, heap + ring);
    put(ring + 16, heap + small), put(ring + 24, heap + small);
    at += 96;
    put(at - 8, 96), put(at, 0x100 | 2);
    at += 0x100;
    put(at, (segment_size - LJT_LJ_TOP_FOOT - (at - 8)) | 1);
    put(STATE(smallmap), (uint64_t)1 << index << 32 | (uint64_t)1 << bin);
    put(STATE(topsize), segment_size - LJT_LJ_TOP_FOOT - (at - 8));
    put(STATE(top), heap + at - 8);
    put(STATE(trim_check), LJT_LJ_TRIM_THRESHOLD), put(STATE(release_checks), 255);
    put(STATE(seg.base), heap), put(STATE(seg.size), segment_size), put(STATE(seg.next), 0);
}

static void save_heap(const char *name)
{
    save("heap", name, word, words * sizeof(word[0]));
}

static void save_heaps(void)
{
    put_heap();
    save_heap("sound");
    /* An older segment, with a free chunk in dv, its record and fenceposts. */
    uint64_t old = 2 * segment_size, record = old + segment_size - LJT_LJ_TOP_FOOT;
    put(old + 8, 0x1000 | 3);
    put(old + 0x1008, (record - old - 0x1000) | 1);
    put(record, record - old - 0x1000), put(record + 8, LJT_LJ_SEGMENT_CHUNK | 2);
    for (uint64_t at = record + LJT_LJ_SEGMENT_CHUNK; at + 8 < old + segment_size; at += 8)
        put(at + 8, LJT_LJ_FENCEPOST);
    put(record + 16, heap + old), put(record + 24, segment_size), put(record + 32, 0);
    put(STATE(dv), heap + old + 0x1000), put(STATE(dvsize), record - old - 0x1000);
    put(STATE(seg.next), heap + record + 16);
    save_heap("two-segments");
    put(record + 32, heap + record + 16);
    save_heap("segments-in-a-loop");
    put_heap();
    put(STATE(seg.size), UINT64_C(1) << 46);
    save_heap("huge-segment");
    put_heap();
    put(STATE(top), heap + segment_size - 8);
    save_heap("top-at-the-end");
    put_heap();
    put(LJT_LJ_STATE_CHUNK + 8, ~(uint64_t)0x7);
    save_heap("huge-chunk");
}

/* ---- A VM ---- */

static void save_frames(void)
{
    enum {
        G = 0x100,
        CUR_L = 0x300,
        STACK = 0x400,
        FUNCTION = 0x500,
        PROTO = 0x600,
        BYTECODE = 0x668,
        NAME = 0x700
    };
    static unsigned char vm[0x2000];
    const uint64_t base = LJT_FUZZ_VM;
#define AT(type, offset) (*(type *)(void *)(vm + (offset)))
    vm[9] = 6; /* the main thread, and the running one */
    AT(uint64_t, 16) = base + G;
    AT(uint64_t, 32) = base + STACK + 32;
    AT(uint64_t, 48) = AT(uint64_t, 56) = base + STACK;
    AT(uint64_t, 48) += 0x80;
    AT(uint64_t, 80) = base + 0x1800;
    AT(uint32_t, CUR_L - 8) = 20 << 8 | 0x5f, AT(uint32_t, CUR_L - 4) = 20 << 8 | 0x60;
    AT(uint64_t, CUR_L) = base;
    AT(uint64_t, STACK + 16) = base + FUNCTION, AT(uint64_t, STACK + 24) = base + BYTECODE + 8;
    vm[FUNCTION + 9] = 8;
    AT(uint64_t, FUNCTION + 32) = base + BYTECODE;
    vm[PROTO + 9] = 7;
    AT(uint32_t, PROTO + 12) = 4;    /* sizebc */
    AT(uint32_t, PROTO + 56) = 0x98; /* sizept */
    AT(uint64_t, PROTO + 64) = base + NAME;
    AT(int32_t, PROTO + 72) = 7, AT(int32_t, PROTO + 76) = 9;
    AT(uint64_t, PROTO + 80) = base + NAME + 0x80;
    vm[NAME + 9] = 4;
    memcpy(vm + NAME + 24, "@handler.lua", 13);
    vm[NAME + 0x81] = 3;
    AT(uint32_t, BYTECODE + 4) = 1 << 8;
    save("frames", "one", vm, sizeof(vm));
    AT(uint64_t, STACK + 24) = 16 | 3; /* a vararg frame, to another one like it */
    AT(uint64_t, STACK) = base + FUNCTION, AT(uint64_t, STACK + 8) = 0;
    save("frames", "vararg", vm, 0x1000);
    memcpy(vm + NAME + 24, "local x = 1\nreturn\x1b[31m", 24);
    save("frames", "source", vm, 0x1000);
    AT(uint64_t, PROTO + 64) = UINT64_MAX - 7;
    save("frames", "astray", vm, 0x800);
#undef AT
}

static void save_objects(void)
{
    save_text("object", "script", "#!/usr/bin/env luajit\nprint(1)\n");
    save_text("object", "script-without-end", "#!");
    save_text("object", "banner",
              "\x7f"
              "ELFxxxxxxxxxxxxLuaJIT 2.1.0-beta3 -- Copyright (C) 2005-2022 Mike Pall.");
    save("object", "nothing", "", 0);
}

static void save_nginx_configurations(void)
{
    save_text("nginx_conf", "plain",
              "user www-data;\nworker_processes auto; # env NO;\npid /run/nginx.pid;\n"
              "include /etc/nginx/modules-enabled/*.conf;\nenv LD_PRELOAD;\nenv LJTRIM_LOG=/var/log/x.%p;\n"
              "load_module modules/ngx_http_lua_module.so;\n\nevents { worker_connections 768; }\n"
              "http {\n    init_by_lua_block { local t = {} }\n    include mime.types;\n}\n");
    save_text("nginx_conf", "circle",
              "include *.conf; include nginx.conf; load_module a; env A;\finclude *.conf; include x/*/[a-z]?;"
              "\finclude x/../*.conf;\n\f");
    save_text(
        "nginx_conf", "quotes",
        "'env' \"A B\"; env 'x;y' z; \"include\" 'a b/*.conf'; env \\; env =; env A=B=C; load_module '';'");
    save_text("nginx_conf", "open", "env A; http { server { } env B;\fload_module x; env \"C; #\f env C");
    save_text("nginx_conf", "words", "env A B C D E F G H I J K; ; ;; include; env; {} }; env Z; {");
}

Test(corpora, can_be_begun_anew)
{
    if (getenv("UPDATE_CORPUS") == NULL)
        return;
    save_objects();
    save_configurations();
    save_cgroups();
    save_stats_pages();
    save_heaps();
    save_frames();
    save_nginx_configurations();
}
