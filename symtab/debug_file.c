#include "debug_file.h"

#include <errno.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define DEBUG_ROOT "/usr/lib/debug"

enum { BUILD_ID_MAX = 64, PATH_ROOM = 4096 };

/* A checksum is read over all of the file: of larger ones we do without, a VM is waiting. */
static const uint64_t CHECKSUM_MAX = (uint64_t)64 << 20;

/* Of .gnu_debugdata: LuaJIT's is some KiB, and what unpacks to more is none of it. */
enum { PACKED_MAX = 16 << 20, UNPACKED_MAX = 64 << 20, DECODER_MAX = 128 << 20 };

static bool checksum(int fd, uint32_t *sum)
{
    struct stat s;
    static const size_t block = 64 << 10;
    unsigned char *bytes = NULL;
    ssize_t n = -1;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && (uint64_t)s.st_size <= CHECKSUM_MAX &&
        (bytes = malloc(block)) != NULL) {
        uLong crc = crc32(0, NULL, 0);
        for (off_t at = 0; (n = pread(fd, bytes, block, at)) > 0; at += n)
            crc = crc32(crc, bytes, (uInt)n);
        *sum = (uint32_t)crc;
    }
    free(bytes);
    return n == 0;
}

struct request {
    struct ljt_elf *object;
    const char *root;
    unsigned char id[BUILD_ID_MAX];
    size_t id_size;
    bool by_link; /* then the sum is what the file's must be; else the build-id proves it */
    uint32_t sum;
    ljt_debug_file_fn *use;
    void *arg;
};

/* Is it for the same machine, and not another build's? */
static bool belongs(const struct request *r, struct ljt_elf *debug)
{
    unsigned char id[BUILD_ID_MAX];
    size_t id_size = ljt_elf_build_id(debug, id, sizeof(id));
    bool same_id = id_size == r->id_size && memcmp(id, r->id, id_size) == 0;
    return debug->header.e_machine == r->object->header.e_machine &&
           debug->header.e_ident[EI_CLASS] == r->object->header.e_ident[EI_CLASS] &&
           (same_id || (r->by_link && (id_size == 0 || r->id_size == 0)));
}

static bool try_path(const struct request *r, const char *path)
{
    int fd = ljt_open_in(r->root, path);
    if (fd < 0)
        return false;
    struct ljt_elf debug;
    uint32_t sum;
    bool used = false;
    if (ljt_elf_open(&debug, fd) == 0 && belongs(r, &debug) &&
        (!r->by_link || (checksum(fd, &sum) && sum == r->sum)))
        used = r->use(&debug, path, r->arg);
    ljt_elf_close(&debug);
    close(fd);
    return used;
}

/* The build-id as digits: the first two are a directory. */
static bool try_build_id(const struct request *r)
{
    char path[sizeof(DEBUG_ROOT) + 32 + 2 * BUILD_ID_MAX];
    if (r->id_size < 2)
        return false;
    int n = snprintf(path, sizeof(path), "%s/.build-id/%02x/", DEBUG_ROOT, r->id[0]);
    for (size_t i = 1; i < r->id_size; i++)
        n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x", r->id[i]);
    snprintf(path + n, sizeof(path) - (size_t)n, ".debug");
    return try_path(r, path);
}

/* A name, ended by a zero byte, padded to a multiple of four; then the checksum. */
static bool read_link(struct ljt_elf *object, char *name, size_t room, uint32_t *sum)
{
    Elf_Data *data;
    if (ljt_elf_data(object, ".gnu_debuglink", 4096, &data) != 0 || data == NULL)
        return false;
    size_t length = strnlen(data->d_buf, data->d_size);
    size_t at = (length + 1 + 3) & ~(size_t)3;
    if (length == 0 || length >= room || at + sizeof(*sum) > data->d_size)
        return false;
    memcpy(name, data->d_buf, length);
    name[length] = '\0';
    memcpy(sum, (const char *)data->d_buf + at, sizeof(*sum));
    return strchr(name, '/') == NULL;
}

static bool try_link(struct request *r, const char *path)
{
    static const char *const places[] = {"%.*s%s", "%.*s.debug/%s", DEBUG_ROOT "%.*s%s"};
    char name[256], candidate[PATH_ROOM];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || !read_link(r->object, name, sizeof(name), &r->sum))
        return false;
    r->by_link = true;
    int directory = (int)(slash + 1 - path);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int n = snprintf(candidate, sizeof(candidate), places[i], directory, path, name);
#pragma GCC diagnostic pop
        if (n > 0 && (size_t)n < sizeof(candidate) && try_path(r, candidate))
            return true;
    }
    return false;
}

bool ljt_debug_file(struct ljt_elf *object, const char *root, const char *path, ljt_debug_file_fn *use,
                    void *arg)
{
    struct request r = {.object = object, .root = root, .use = use, .arg = arg};
    r.id_size = ljt_elf_build_id(object, r.id, sizeof(r.id));
    return try_build_id(&r) || try_link(&r, path);
}

/* Unpacks into memory that grows as far as UNPACKED_MAX. NULL: broken, or too large. */
static char *unpack(const unsigned char *packed, size_t n, size_t *unpacked)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&stream, DECODER_MAX, 0) != LZMA_OK)
        return NULL;
    char *bytes = NULL;
    size_t room = 0;
    lzma_ret status = LZMA_OK;
    stream.next_in = packed;
    stream.avail_in = n;
    while (status == LZMA_OK && room < UNPACKED_MAX) {
        size_t more = room == 0 ? 256 << 10 : 2 * room;
        char *larger = realloc(bytes, more);
        if (larger == NULL)
            break;
        bytes = larger;
        stream.next_out = (uint8_t *)bytes + stream.total_out;
        stream.avail_out = more - stream.total_out;
        room = more;
        do
            status = lzma_code(&stream, LZMA_FINISH);
        while (status == LZMA_OK && stream.avail_out > 0);
    }
    *unpacked = stream.total_out;
    lzma_end(&stream);
    if (status == LZMA_STREAM_END)
        return bytes;
    free(bytes);
    return NULL;
}

int ljt_debug_data(struct ljt_elf *object, const char *path, ljt_debug_file_fn *use, void *arg)
{
    Elf_Data *data;
    int error = ljt_elf_data(object, ".gnu_debugdata", PACKED_MAX, &data);
    if (error != 0 || data == NULL)
        return error;
    size_t n;
    char *bytes = unpack(data->d_buf, data->d_size, &n);
    struct ljt_elf debug = {0};
    error = bytes == NULL ? -EINVAL : ljt_elf_open_memory(&debug, bytes, n);
    if (error == 0)
        use(&debug, path, arg);
    else
        snprintf(object->why, sizeof(object->why), "its .gnu_debugdata is broken");
    ljt_elf_close(&debug);
    free(bytes);
    return error;
}
