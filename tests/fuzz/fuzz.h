/*
 * fuzz: functions that take any bytes at all and must come back with their promises kept.
 *
 * Each file here is one target, ljt_fuzz_NAME. `make fuzz` lets libFuzzer loose on each (it is then compiled with that
 * name defined as LLVMFuzzerTestOneInput, and with LJT_FUZZER); the unit tests replay the corpora (tests/fuzz/corpus/NAME)
 * and mutations of them (tests/unit/test_fuzz_corpora.c). What a target finds wrong ends in abort.
 */
#ifndef LJT_FUZZ_H
#define LJT_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int ljt_fuzz_symtab(const uint8_t *bytes, size_t n);
int ljt_fuzz_object(const uint8_t *bytes, size_t n);
int ljt_fuzz_config(const uint8_t *bytes, size_t n);
int ljt_fuzz_cgroup(const uint8_t *bytes, size_t n);
int ljt_fuzz_stats_page(const uint8_t *bytes, size_t n);
int ljt_fuzz_heap(const uint8_t *bytes, size_t n);
int ljt_fuzz_frames(const uint8_t *bytes, size_t n);
int ljt_fuzz_nginx_conf(const uint8_t *bytes, size_t n);

/*
 * Where targets put what other memory would hold. Fixed, so that a pointer in a corpus is one; below 2 GiB, where no
 * sanitizer has its own.
 */
#define LJT_FUZZ_LIBRARY ((uintptr_t)0x20000000) /* stats_page: a file that pretends to be libljtrim.so */
#define LJT_FUZZ_HEAP ((uintptr_t)0x30000000)    /* heap */
#define LJT_FUZZ_VM ((uintptr_t)0x40000000)      /* frames; nothing is mapped there */
enum { LJT_FUZZ_LIBRARY_SIZE = 256 << 10, LJT_FUZZ_HEAP_SIZE = 512 << 10, LJT_FUZZ_VM_GATE = 0x200 };

/* A word of a heap: an input of ljt_fuzz_heap is a row of them, the rest of the memory is zero. */
struct ljt_fuzz_word {
    uint64_t offset, value; /* offset: modulo LJT_FUZZ_HEAP_SIZE, rounded down to a multiple of 8 */
};

/* How many inputs were taken for the real thing: a corpus that gets nobody that far would test little. */
__attribute__((weak)) unsigned ljt_fuzz_accepted;

static inline void demand(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

#endif
