#include "canvas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLOURS = 256 };

struct png {
    struct ljt_canvas canvas;
    uint8_t *pixels; /* width * height indices of colours */
    uint32_t colours[COLOURS];
    int count;
};

/* ---- Drawing ---- */

static uint8_t index_of(struct png *p, uint32_t colour)
{
    int i = 0;
    while (i < p->count && p->colours[i] != colour)
        i++;
    if (i == COLOURS)
        return COLOURS - 1;
    if (i == p->count)
        p->colours[p->count++] = colour;
    return (uint8_t)i;
}

static void fill(struct png *p, int x, int y, int w, int h, uint8_t index)
{
    const struct ljt_canvas *c = &p->canvas;
    int right = x + w < c->width ? x + w : c->width, bottom = y + h < c->height ? y + h : c->height;
    x = x < 0 ? 0 : x;
    for (y = y < 0 ? 0 : y; y < bottom && x < right; y++)
        memset(p->pixels + (size_t)y * (size_t)c->width + x, index, (size_t)(right - x));
}

static void png_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count)
{
    struct png *p = (struct png *)c;
    uint8_t index = index_of(p, colour);
    for (size_t i = 0; i < count; i++)
        fill(p, rects[i].x, rects[i].y, rects[i].w, rects[i].h, index);
}

static void png_curve(struct ljt_canvas *c, uint32_t colour, int dash, const struct ljt_point *points,
                      size_t count)
{
    struct png *p = (struct png *)c;
    uint8_t index = index_of(p, colour);
    int drawn = 0; /* pixels along the curve */
    fill(p, points[0].x - 1, points[0].y - 1, 2, 2, index);
    for (size_t i = 1; i < count; i++) {
        int dx = points[i].x - points[i - 1].x, dy = points[i].y - points[i - 1].y;
        int steps = abs(dx) > abs(dy) ? abs(dx) : abs(dy);
        for (int k = 1; k <= steps; k++, drawn++)
            if (dash == 0 || drawn / dash % 2 == 0)
                fill(p, points[i - 1].x + dx * k / steps - 1, points[i - 1].y + dy * k / steps - 1, 2, 2,
                     index);
    }
}

/* The printable ASCII characters: five columns each, bit 0 is the top row, bit 7 the descender. */
static const uint8_t letters[95][5] = {
    {0x00, 0x00, 0x00, 0x00, 0x00}, {0x00, 0x00, 0x5f, 0x00, 0x00}, {0x00, 0x07, 0x00, 0x07, 0x00},
    {0x14, 0x7f, 0x14, 0x7f, 0x14}, {0x24, 0x2a, 0x7f, 0x2a, 0x12}, {0x23, 0x13, 0x08, 0x64, 0x62},
    {0x36, 0x49, 0x56, 0x20, 0x50}, {0x00, 0x00, 0x07, 0x00, 0x00}, {0x00, 0x1c, 0x22, 0x41, 0x00},
    {0x00, 0x41, 0x22, 0x1c, 0x00}, {0x2a, 0x1c, 0x7f, 0x1c, 0x2a}, {0x08, 0x08, 0x3e, 0x08, 0x08},
    {0x00, 0x80, 0x70, 0x30, 0x00}, {0x08, 0x08, 0x08, 0x08, 0x08}, {0x00, 0x00, 0x60, 0x60, 0x00},
    {0x20, 0x10, 0x08, 0x04, 0x02}, {0x3e, 0x51, 0x49, 0x45, 0x3e}, {0x00, 0x42, 0x7f, 0x40, 0x00},
    {0x72, 0x49, 0x49, 0x49, 0x46}, {0x21, 0x41, 0x49, 0x4d, 0x33}, {0x18, 0x14, 0x12, 0x7f, 0x10},
    {0x27, 0x45, 0x45, 0x45, 0x39}, {0x3c, 0x4a, 0x49, 0x49, 0x31}, {0x41, 0x21, 0x11, 0x09, 0x07},
    {0x36, 0x49, 0x49, 0x49, 0x36}, {0x46, 0x49, 0x49, 0x29, 0x1e}, {0x00, 0x00, 0x36, 0x36, 0x00},
    {0x00, 0x80, 0x76, 0x36, 0x00}, {0x00, 0x08, 0x14, 0x22, 0x41}, {0x14, 0x14, 0x14, 0x14, 0x14},
    {0x00, 0x41, 0x22, 0x14, 0x08}, {0x02, 0x01, 0x59, 0x09, 0x06}, {0x3e, 0x41, 0x5d, 0x59, 0x4e},
    {0x7c, 0x12, 0x11, 0x12, 0x7c}, {0x7f, 0x49, 0x49, 0x49, 0x36}, {0x3e, 0x41, 0x41, 0x41, 0x22},
    {0x7f, 0x41, 0x41, 0x41, 0x3e}, {0x7f, 0x49, 0x49, 0x49, 0x41}, {0x7f, 0x09, 0x09, 0x09, 0x01},
    {0x3e, 0x41, 0x41, 0x51, 0x73}, {0x7f, 0x08, 0x08, 0x08, 0x7f}, {0x00, 0x41, 0x7f, 0x41, 0x00},
    {0x20, 0x40, 0x41, 0x3f, 0x01}, {0x7f, 0x08, 0x14, 0x22, 0x41}, {0x7f, 0x40, 0x40, 0x40, 0x40},
    {0x7f, 0x02, 0x1c, 0x02, 0x7f}, {0x7f, 0x04, 0x08, 0x10, 0x7f}, {0x3e, 0x41, 0x41, 0x41, 0x3e},
    {0x7f, 0x09, 0x09, 0x09, 0x06}, {0x3e, 0x41, 0x51, 0x21, 0x5e}, {0x7f, 0x09, 0x19, 0x29, 0x46},
    {0x26, 0x49, 0x49, 0x49, 0x32}, {0x03, 0x01, 0x7f, 0x01, 0x03}, {0x3f, 0x40, 0x40, 0x40, 0x3f},
    {0x1f, 0x20, 0x40, 0x20, 0x1f}, {0x3f, 0x40, 0x38, 0x40, 0x3f}, {0x63, 0x14, 0x08, 0x14, 0x63},
    {0x03, 0x04, 0x78, 0x04, 0x03}, {0x61, 0x59, 0x49, 0x4d, 0x43}, {0x00, 0x7f, 0x41, 0x41, 0x41},
    {0x02, 0x04, 0x08, 0x10, 0x20}, {0x00, 0x41, 0x41, 0x41, 0x7f}, {0x04, 0x02, 0x01, 0x02, 0x04},
    {0x40, 0x40, 0x40, 0x40, 0x40}, {0x00, 0x03, 0x07, 0x08, 0x00}, {0x20, 0x54, 0x54, 0x78, 0x40},
    {0x7f, 0x28, 0x44, 0x44, 0x38}, {0x38, 0x44, 0x44, 0x44, 0x28}, {0x38, 0x44, 0x44, 0x28, 0x7f},
    {0x38, 0x54, 0x54, 0x54, 0x18}, {0x00, 0x08, 0x7e, 0x09, 0x02}, {0x18, 0xa4, 0xa4, 0x9c, 0x78},
    {0x7f, 0x08, 0x04, 0x04, 0x78}, {0x00, 0x44, 0x7d, 0x40, 0x00}, {0x20, 0x40, 0x40, 0x3d, 0x00},
    {0x7f, 0x10, 0x28, 0x44, 0x00}, {0x00, 0x41, 0x7f, 0x40, 0x00}, {0x7c, 0x04, 0x78, 0x04, 0x78},
    {0x7c, 0x08, 0x04, 0x04, 0x78}, {0x38, 0x44, 0x44, 0x44, 0x38}, {0xfc, 0x18, 0x24, 0x24, 0x18},
    {0x18, 0x24, 0x24, 0x18, 0xfc}, {0x7c, 0x08, 0x04, 0x04, 0x08}, {0x48, 0x54, 0x54, 0x54, 0x24},
    {0x04, 0x04, 0x3f, 0x44, 0x24}, {0x3c, 0x40, 0x40, 0x20, 0x7c}, {0x1c, 0x20, 0x40, 0x20, 0x1c},
    {0x3c, 0x40, 0x30, 0x40, 0x3c}, {0x44, 0x28, 0x10, 0x28, 0x44}, {0x4c, 0x90, 0x90, 0x90, 0x7c},
    {0x44, 0x64, 0x54, 0x4c, 0x44}, {0x00, 0x08, 0x36, 0x41, 0x00}, {0x00, 0x00, 0x77, 0x00, 0x00},
    {0x00, 0x41, 0x36, 0x08, 0x00}, {0x02, 0x01, 0x02, 0x04, 0x02},
};

static void png_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text)
{
    struct png *p = (struct png *)c;
    uint8_t index = index_of(p, colour);
    int dot = size < 7 ? 1 : size / 7;
    if (align == LJT_ALIGN_RIGHT)
        x -= ljt_canvas_text_width(size, text);
    for (; *text != '\0'; text++, x += 6 * dot) {
        const uint8_t *letter = letters[*text >= ' ' && *text <= '~' ? *text - ' ' : '?' - ' '];
        for (int column = 0; column < 5; column++)
            for (int row = 0; row < 8; row++)
                if ((letter[column] >> row & 1) != 0)
                    fill(p, x + column * dot, y + (row - 7) * dot, dot, dot, index);
    }
}

/* ---- Deflate with its fixed code, and runs of one byte as the only matches ---- */

struct stream {
    uint8_t *bytes;
    size_t length;
    uint64_t bits; /* not yet written, the first in the lowest bit */
    unsigned pending;
};

static void put_bits(struct stream *s, uint32_t value, unsigned n)
{
    s->bits |= (uint64_t)value << s->pending;
    for (s->pending += n; s->pending >= 8; s->pending -= 8, s->bits >>= 8)
        s->bytes[s->length++] = (uint8_t)s->bits;
}

/* Codes go out from their highest bit on. */
static void put_code(struct stream *s, uint32_t code, unsigned n)
{
    for (unsigned i = n; i-- > 0;)
        put_bits(s, code >> i & 1, 1);
}

/* RFC 1951, 3.2.6. */
static void put_symbol(struct stream *s, unsigned symbol)
{
    if (symbol < 144)
        put_code(s, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(s, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(s, symbol - 256, 7);
    else
        put_code(s, 0xc0 + symbol - 280, 8);
}

static void put_run(struct stream *s, uint8_t byte, size_t n)
{
    put_symbol(s, byte);
    for (n--; n != 0;) {
        if (n < 3) {
            put_symbol(s, byte);
            n--;
            continue;
        }
        size_t match = n >= 258 ? 258 : n > 10 ? 10 : n;
        put_symbol(s, match == 258 ? 285 : 254 + (unsigned)match); /* these lengths have no extra bits */
        put_code(s, 0, 5);                                         /* distance 1 */
        n -= match;
    }
}

/* RFC 1950. Room is 2 bytes for each byte and a little. */
static void deflate(struct stream *s, const uint8_t *data, size_t n)
{
    uint32_t a = 1, b = 0;
    put_bits(s, 0x78, 8);
    put_bits(s, 0x01, 8);
    put_bits(s, 3, 3); /* the last block, fixed code */
    for (size_t i = 0; i < n;) {
        size_t run = 1;
        while (i + run < n && data[i + run] == data[i])
            run++;
        put_run(s, data[i], run);
        i += run;
    }
    put_symbol(s, 256);
    put_bits(s, 0, (8 - s->pending) & 7);
    for (size_t i = 0; i < n; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    for (int shift = 24; shift >= 0; shift -= 8)
        s->bytes[s->length++] = (uint8_t)((b << 16 | a) >> shift);
}

/* ---- The file ---- */

static uint32_t crc(uint32_t sum, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sum ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum & 1) != 0 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
    }
    return sum;
}

static void put_word(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_chunk(FILE *f, const char *type, const uint8_t *data, size_t n)
{
    uint8_t head[8], foot[4];
    put_word(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    put_word(foot, ~crc(crc(0xffffffff, head + 4, 4), data, n));
    fwrite(head, 1, sizeof(head), f);
    if (n != 0)
        fwrite(data, 1, n, f);
    fwrite(foot, 1, sizeof(foot), f);
}

/* Rows as the difference to the row above: rows of cells are several pixels high, so most are all zero. */
static uint8_t *filter_rows(const struct png *p, size_t *n)
{
    size_t width = (size_t)p->canvas.width, height = (size_t)p->canvas.height;
    *n = (width + 1) * height;
    uint8_t *out = calloc(1, *n);
    if (out == NULL)
        return NULL;
    for (size_t y = 0; y < height; y++) {
        uint8_t *to = out + y * (width + 1);
        const uint8_t *row = p->pixels + y * width;
        *to++ = 2; /* "up" */
        for (size_t x = 0; x < width; x++)
            to[x] = (uint8_t)(row[x] - (y == 0 ? 0 : row[x - width]));
    }
    return out;
}

static int write_file(const struct png *p, const struct stream *s)
{
    uint8_t header[13] = {[8] = 8, [9] = 3}, palette[3 * COLOURS]; /* 8 bits, indices of colours */
    FILE *f = fopen(p->canvas.path, "we");
    if (f == NULL)
        return -errno;
    put_word(header, (uint32_t)p->canvas.width);
    put_word(header + 4, (uint32_t)p->canvas.height);
    for (int i = 0; i < 3 * p->count; i++)
        palette[i] = (uint8_t)(p->colours[i / 3] >> (16 - 8 * (i % 3)));
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, f);
    write_chunk(f, "IHDR", header, sizeof(header));
    write_chunk(f, "PLTE", palette, 3 * (size_t)p->count);
    write_chunk(f, "IDAT", s->bytes, s->length);
    write_chunk(f, "IEND", NULL, 0);
    int error = ferror(f) ? -EIO : 0;
    if (fclose(f) != 0 && error == 0)
        error = -errno;
    return error;
}

static int png_close(struct ljt_canvas *c)
{
    struct png *p = (struct png *)c;
    size_t n;
    uint8_t *rows = filter_rows(p, &n);
    struct stream s = {.bytes = rows == NULL ? NULL : malloc(2 * n + 64)};
    int error = -ENOMEM;
    if (s.bytes != NULL) {
        deflate(&s, rows, n);
        error = write_file(p, &s);
    }
    free(rows);
    free(s.bytes);
    free(p->pixels);
    free(p);
    return error;
}

struct ljt_canvas *ljt_canvas_open_png(const char *path, int width, int height)
{
    struct png *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->canvas = (struct ljt_canvas){.path = path,
                                    .width = width,
                                    .height = height,
                                    .rects = png_rects,
                                    .text = png_text,
                                    .curve = png_curve,
                                    .close = png_close};
    p->pixels = calloc((size_t)width, (size_t)height);
    if (p->pixels == NULL) {
        free(p);
        return NULL;
    }
    return &p->canvas;
}
