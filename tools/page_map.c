/*
 * The page map, of `ljtrim inspect --map` and of `ljtrim report`: every arena's address space row by row, a cell a
 * page (or several, where an arena is large; their colours are mixed then). Segments follow each other without a
 * gap.
 */
#include "page_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEFT = LJT_PICTURE_LEFT,
    GRID = LJT_PICTURE_DRAWN,
    HEADER = 142,    /* above the legend, in a picture of its own */
    LEGEND = 84,     /* above the first arena */
    ARENA_HEAD = 50, /* above each arena's cells */
    MAX_ROWS = 384,  /* of a picture of its own */
    MAX_ARENAS = 16, /* the largest ones */
    MIX = 4          /* a cell of several pages: shares are rounded to quarters */
};

static const struct {
    const char *name;
    uint32_t colour, dark;
} cells[LJT_CELLS] = {
    [LJT_CELL_LIVE] = {"live", LJT_COLOUR_LIVE, LJT_DARK_LIVE},
    [LJT_CELL_MIXED] = {"partly live", LJT_COLOUR_FLOOR, LJT_DARK_FLOOR},
    [LJT_CELL_FREE_RESIDENT] = {"free, resident", LJT_COLOUR_FREE, LJT_DARK_FREE},
    [LJT_CELL_FREE_PURGED] = {"free, purged", LJT_COLOUR_PURGED, LJT_DARK_PURGED},
};

struct cell {
    uint32_t colour, dark;
    struct ljt_rect rect;
};

struct layout {
    size_t shown;          /* arenas */
    size_t pages_per_cell; /* a power of 2 */
    int columns, side;     /* cells in a row, pixels of a cell */
};

/* ---- Layout ---- */

static size_t pages_of(const struct ljt_measured *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->nmaps; i++)
        n += m->maps[i].pages;
    return n;
}

static size_t rows_of(const struct layout *l, const struct ljt_measured *m)
{
    size_t row = l->pages_per_cell * (size_t)l->columns;
    return (pages_of(m) + row - 1) / row;
}

static size_t all_rows(const struct layout *l, const struct ljt_inspection *n)
{
    size_t rows = 0;
    for (size_t i = 0; i < l->shown; i++)
        rows += rows_of(l, &n->arenas[i]);
    return rows;
}

static struct layout lay_out(const struct ljt_inspection *n, int max_rows)
{
    size_t pages = 0;
    struct layout l = {.shown = n->count < MAX_ARENAS ? n->count : MAX_ARENAS, .pages_per_cell = 1};
    for (size_t i = 0; i < l.shown; i++)
        pages += pages_of(&n->arenas[i]);
    l.columns = pages < 2048 ? 64 : pages < 16384 || max_rows <= LJT_PAGE_MAP_SMALL ? 128 : 256;
    l.side = GRID / l.columns;
    while (all_rows(&l, n) > (size_t)max_rows + l.shown)
        l.pages_per_cell *= 2;
    return l;
}

/* ---- Cells ---- */

/* Colours the cell that stands for `n` pages, of which count[] are of each kind. */
static void mix(struct cell *c, const size_t count[LJT_CELLS], size_t n)
{
    unsigned share[LJT_CELLS], sum = 0, most = 0;
    for (unsigned i = 0; i < LJT_CELLS; i++) {
        share[i] = (unsigned)((count[i] * MIX + n / 2) / n);
        if (share[i] == 0 && count[i] != 0 && i <= LJT_CELL_MIXED)
            share[i] = 1; /* what holds memory for good shows, however little it is */
        sum += share[i];
        most = share[i] > share[most] ? i : most;
    }
    if (sum == 0)
        share[most] = sum = 1;
    c->colour = c->dark = 0;
    for (int shift = 0; shift < 24; shift += 8) {
        unsigned part = sum / 2, dark = sum / 2;
        for (unsigned i = 0; i < LJT_CELLS; i++) {
            part += share[i] * (cells[i].colour >> shift & 0xff);
            dark += share[i] * (cells[i].dark >> shift & 0xff);
        }
        c->colour |= (uint32_t)(part / sum) << shift;
        c->dark |= (uint32_t)(dark / sum) << shift;
    }
}

/* Appends the arena's cells from y on; neighbours of one colour become one rectangle. */
static size_t place_cells(const struct layout *l, const struct ljt_measured *m, int y, struct cell *out)
{
    size_t n = 0, in_cell = 0, at = 0, count[LJT_CELLS] = {0}, left = pages_of(m);
    int gap = l->side >= 8 ? 1 : 0;
    for (size_t i = 0; i < m->nmaps; i++) {
        for (size_t k = 0; k < m->maps[i].pages; k++) {
            count[m->maps[i].cells[k]]++;
            left--;
            if (++in_cell < l->pages_per_cell && left != 0)
                continue;
            struct cell c = {.rect = {LEFT + (int)(at % (size_t)l->columns) * l->side,
                                      y + (int)(at / (size_t)l->columns) * l->side, l->side - gap,
                                      l->side - gap}};
            mix(&c, count, in_cell);
            struct cell *last = n == 0 ? NULL : &out[n - 1];
            if (last != NULL && gap == 0 && last->colour == c.colour && last->rect.y == c.rect.y &&
                last->rect.x + last->rect.w == c.rect.x)
                last->rect.w += c.rect.w;
            else
                out[n++] = c;
            at++;
            in_cell = 0;
            memset(count, 0, sizeof(count));
        }
    }
    return n;
}

static int by_colour(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->colour != y->colour)
        return x->colour < y->colour ? -1 : 1;
    return x->rect.y != y->rect.y ? x->rect.y - y->rect.y : x->rect.x - y->rect.x;
}

static int draw_cells(struct ljt_canvas *canvas, struct cell *c, size_t n)
{
    struct ljt_rect *rects = malloc((n + 1) * sizeof(*rects));
    if (rects == NULL)
        return -ENOMEM;
    qsort(c, n, sizeof(*c), by_colour);
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        for (; i + k < n && c[i + k].colour == c[i].colour; k++)
            rects[k] = c[i + k].rect;
        ljt_canvas_rects(canvas, c[i].colour, rects, k);
        ljt_canvas_dark(canvas, c[i].colour, c[i].dark);
        i += k;
    }
    free(rects);
    return 0;
}

/* ---- Words ---- */

/* A round number of KiB or MiB, without decimals. */
static void round_bytes(struct ljt_text *t, size_t bytes)
{
    if ((bytes & ((1 << 20) - 1)) == 0)
        ljt_text_printf(t, "%zu MiB", bytes >> 20);
    else
        ljt_text_printf(t, "%zu KiB", bytes >> 10);
}

static void draw_axis(struct ljt_canvas *canvas, const struct layout *l, const struct ljt_inspection *n,
                      size_t rows, int y)
{
    char buf[64];
    size_t row = l->pages_per_cell * (size_t)l->columns * n->remote.page;
    size_t step = rows > 128 ? 64 : rows > 32 ? 16 : rows > 8 ? 4 : 1;
    while ((int)step * l->side < 32)
        step *= 2;
    for (size_t i = 0; i < rows; i += step) {
        struct ljt_text t = LJT_TEXT(buf);
        round_bytes(&t, i * row);
        int at = y + (int)i * l->side;
        ljt_canvas_text(canvas, LEFT - 12, at + 14, 14, LJT_FAINT, LJT_ALIGN_RIGHT, i == 0 ? "0" : buf);
        ljt_canvas_rects(canvas, LJT_TICK, &(struct ljt_rect){LEFT - 9, at, 6, 1}, 1);
    }
}

static void draw_arena_head(struct ljt_canvas *canvas, const struct layout *l, const struct ljt_inspection *n,
                            const struct ljt_measured *m, int y)
{
    char buf[256];
    struct ljt_text t = LJT_TEXT(buf);
    size_t page = n->remote.page;
    ljt_text_printf(&t, "Arena %zx: ", (size_t)m->figures.state);
    ljt_text_bytes(&t, m->figures.mapped);
    ljt_text_printf(&t, " in %zu segment%s", m->figures.segments, m->figures.segments == 1 ? "" : "s");
    ljt_canvas_text(canvas, LEFT, y + 36, 14, LJT_INK, LJT_ALIGN_LEFT, buf);
    ljt_text_init(&t, buf, sizeof(buf));
    if (l->pages_per_cell == 1)
        ljt_text_string(&t, "1 cell = 1 page, 1 row = ");
    else
        ljt_text_printf(&t, "1 cell = %zu pages, 1 row = ", l->pages_per_cell);
    round_bytes(&t, l->pages_per_cell * page * (size_t)l->columns);
    ljt_canvas_text(canvas, LEFT + GRID, y + 36, 14, LJT_FAINT, LJT_ALIGN_RIGHT, buf);
}

/* Each row says what it is made of to who points at it. */
static void draw_tips(struct ljt_canvas *canvas, const struct layout *l, const struct ljt_inspection *n,
                      const struct ljt_measured *m, int y)
{
    size_t row = l->pages_per_cell * (size_t)l->columns, at = 0, left = pages_of(m), count[LJT_CELLS] = {0};
    for (size_t i = 0; i < m->nmaps; i++) {
        for (size_t k = 0; k < m->maps[i].pages; k++) {
            count[m->maps[i].cells[k]]++;
            left--;
            if (++at % row != 0 && left != 0)
                continue;
            size_t first = (at - 1) / row * row;
            char buf[256];
            struct ljt_text t = LJT_TEXT(buf);
            ljt_text_string(&t, "From ");
            round_bytes(&t, first * n->remote.page);
            ljt_text_string(&t, ": ");
            const char *between = "";
            for (unsigned kind = 0; kind < LJT_CELLS; kind++) {
                if (count[kind] == 0)
                    continue;
                ljt_text_string(&t, between);
                ljt_text_percent(&t, count[kind], at - first);
                ljt_text_printf(&t, " %s", cells[kind].name);
                between = "; ";
            }
            ljt_canvas_tip(canvas, &(struct ljt_rect){LEFT, y + (int)(first / row) * l->side, GRID, l->side},
                           buf);
            memset(count, 0, sizeof(count));
        }
    }
}

/* The shares of all arenas: a bar, and below it what its colours mean. */
static void draw_legend(struct ljt_canvas *canvas, const struct ljt_inspection *n, int y)
{
    size_t pages[LJT_CELLS] = {0}, all = 0, before = 0;
    char buf[128];
    for (size_t i = 0; i < n->count; i++)
        for (size_t k = 0; k < n->arenas[i].nmaps; k++)
            for (size_t p = 0; p < n->arenas[i].maps[k].pages; p++)
                pages[n->arenas[i].maps[k].cells[p]]++;
    for (unsigned i = 0; i < LJT_CELLS; i++)
        all += pages[i];
    for (unsigned i = 0; i < LJT_CELLS; i++) {
        int from = (int)((double)GRID * (double)before / (double)all + 0.5);
        int to = (int)((double)GRID * (double)(before + pages[i]) / (double)all + 0.5);
        int x = LEFT + (int)i * (GRID / LJT_CELLS);
        if (to > from)
            ljt_canvas_rects(canvas, cells[i].colour, &(struct ljt_rect){LEFT + from, y, to - from, 20}, 1);
        ljt_canvas_rects(canvas, cells[i].colour, &(struct ljt_rect){x, y + 32, 16, 16}, 1);
        ljt_canvas_text(canvas, x + 24, y + 45, 14, LJT_INK, LJT_ALIGN_LEFT, cells[i].name);
        struct ljt_text t = LJT_TEXT(buf);
        ljt_text_bytes(&t, pages[i] * n->remote.page);
        ljt_text_string(&t, ", ");
        ljt_text_percent(&t, pages[i], all);
        ljt_canvas_text(canvas, x + 24, y + 68, 14, LJT_FAINT, LJT_ALIGN_LEFT, buf);
        before += pages[i];
    }
}

static void draw_header(struct ljt_canvas *canvas, const struct ljt_inspection *n)
{
    char buf[512], wrapped[600];
    struct ljt_text t = LJT_TEXT(buf);
    ljt_text_foreign(&t, n->remote.comm, 32);
    ljt_text_printf(&t, ", process %d: the pages of LuaJIT's allocator", (int)n->remote.pid);
    ljt_canvas_text(canvas, LEFT, 46, 21, LJT_INK, LJT_ALIGN_LEFT, buf);
    ljt_text_init(&t, buf, sizeof(buf));
    ljt_inspection_verdict(n, &t);
    if (n->total.approximate)
        ljt_text_string(&t, " Read while it ran: approximate.");
    if (n->count > MAX_ARENAS)
        ljt_text_printf(&t, " The %d largest of %zu arenas.", MAX_ARENAS, n->count);
    struct ljt_text w = LJT_TEXT(wrapped);
    ljt_text_wrap(&w, buf, 0, 84);
    int y = 76;
    for (char *line = strtok(wrapped, "\n"); line != NULL; line = strtok(NULL, "\n"), y += 20)
        ljt_canvas_text(canvas, LEFT, y, 14, LJT_FAINT, LJT_ALIGN_LEFT, line);
}

int ljt_page_map_height(const struct ljt_inspection *n, int max_rows)
{
    struct layout l = lay_out(n, max_rows);
    return LEGEND + (int)all_rows(&l, n) * l.side + (int)l.shown * ARENA_HEAD + LJT_PICTURE_MARGIN;
}

int ljt_page_map_draw(struct ljt_canvas *canvas, const struct ljt_inspection *n, int max_rows, int y)
{
    struct layout l = lay_out(n, max_rows);
    size_t most = 0;
    for (size_t i = 0; i < n->count; i++)
        most = pages_of(&n->arenas[i]) > most ? pages_of(&n->arenas[i]) : most;
    struct cell *c = malloc((most + 1) * sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    draw_legend(canvas, n, y);
    y += LEGEND;
    int error = 0;
    for (size_t i = 0; error == 0 && i < l.shown; i++) {
        const struct ljt_measured *m = &n->arenas[i];
        size_t rows = rows_of(&l, m);
        draw_arena_head(canvas, &l, n, m, y);
        y += ARENA_HEAD;
        draw_axis(canvas, &l, n, rows, y);
        error = draw_cells(canvas, c, place_cells(&l, m, y, c));
        draw_tips(canvas, &l, n, m, y);
        y += (int)rows * l.side;
    }
    free(c);
    return error;
}

int ljt_inspection_draw(const struct ljt_inspection *n, const char *path)
{
    struct ljt_canvas *canvas =
        ljt_canvas_open(path, LJT_PICTURE_WIDTH, HEADER + ljt_page_map_height(n, MAX_ROWS));
    if (canvas == NULL)
        return -errno;
    ljt_picture_begin(canvas);
    draw_header(canvas, n);
    int error = ljt_page_map_draw(canvas, n, MAX_ROWS, HEADER), closed = ljt_canvas_close(canvas);
    return error != 0 ? error : closed;
}
