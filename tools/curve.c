#include "curve.h"

#include <stdio.h>
#include <string.h>

enum {
    LEGEND = 36, /* above the plot: what the lines are */
    PLOT = 320,
    LEFT = LJT_PICTURE_LEFT,
    DRAWN = LJT_PICTURE_DRAWN,
    TIPS = 128,  /* columns that have a tooltip each */
    STRIP = 2,   /* pixels: the width of a piece of area */
    MARKED = 48, /* so many figures of a line are marked with squares; more are close enough */
    MARK = 6
};

/* ---- Samples ---- */

/* Of four samples the two that matter; figures of the two that go pass to a neighbour that has none. */
static void keep_two(const struct ljt_sample *from, struct ljt_sample *to)
{
    size_t most = 0, least = 0;
    for (size_t i = 1; i < 4; i++) {
        most = from[i].rss > from[most].rss ? i : most;
        least = from[i].rss <= from[least].rss ? i : least;
    }
    if (most == least)
        least = most == 0 ? 3 : 0;
    struct ljt_sample kept[2] = {from[most < least ? most : least], from[most < least ? least : most]};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < 4 && !kept[k].told; i++) {
            const struct ljt_sample *other = &from[k == 0 ? i : 3 - i];
            if (!other->told)
                continue;
            kept[k].told = true;
            kept[k].mapped = other->mapped;
            kept[k].resident = other->resident;
            kept[k].floor = other->floor;
            kept[k].live = other->live;
        }
        to[k] = kept[k];
    }
}

/* No address space is as large: whoever wrote such figures is not to be believed. */
#define FIGURE_MAX ((uint64_t)1 << 47)

static bool is_likely(const struct ljt_sample *s)
{
    return s->mapped <= FIGURE_MAX && s->resident <= FIGURE_MAX && s->floor <= FIGURE_MAX &&
           s->live <= FIGURE_MAX;
}

void ljt_curve_add(struct ljt_curve *c, const struct ljt_sample *sample)
{
    struct ljt_sample likely = *sample, *s = &likely;
    likely.told = sample->told && is_likely(sample);
    if (c->count == LJT_CURVE_SAMPLES) {
        /* The first one is where the time begins: it stays. */
        size_t n = 1;
        for (size_t i = 1; i + 4 <= c->count; i += 4, n += 2)
            keep_two(&c->samples[i], &c->samples[n]);
        for (size_t i = 1 + (c->count - 1) / 4 * 4; i < c->count; i++)
            c->samples[n++] = c->samples[i];
        c->count = n;
    }
    c->samples[c->count++] = *s;
    c->taken++;
    c->peak_rss = s->rss > c->peak_rss ? s->rss : c->peak_rss;
    if (s->told && s->resident > c->peak_resident)
        c->peak_resident = s->resident;
}

/* ---- Axes ---- */

uint64_t ljt_curve_byte_step(uint64_t most)
{
    uint64_t step = 4096;
    while (most / step > 6)
        step *= 2;
    return step;
}

double ljt_curve_second_step(double most)
{
    static const double steps[] = {0.1, 0.2, 0.5, 1,    2,    5,    10,    20,    30,    60,   120,
                                   300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400};
    size_t i = 0, count = sizeof(steps) / sizeof(steps[0]);
    while (i + 1 < count && most / steps[i] > 10)
        i++;
    double step = steps[i];
    while (most / step > 10)
        step *= 2;
    return step;
}

void ljt_curve_time(struct ljt_text *t, double seconds)
{
    unsigned long tenths = (unsigned long)(seconds * 10 + 0.5), whole = tenths / 10;
    if (whole >= 7200 && whole % 360 == 0)
        ljt_text_printf(t, whole % 3600 == 0 ? "%lu h" : "%lu.%lu h", whole / 3600, whole % 3600 / 360);
    else if (whole >= 120)
        ljt_text_printf(t, whole % 60 == 0 ? "%lu min" : "%lu min %lu s", whole / 60, whole % 60);
    else if (tenths % 10 == 0)
        ljt_text_printf(t, "%lu s", whole);
    else
        ljt_text_printf(t, "%lu.%lu s", whole, tenths % 10);
}

/* What the plot shows: up to how many bytes and seconds, and where it lies. */
struct plot {
    double seconds;
    uint64_t bytes;
    int top, bottom;
};

static int x_of(const struct plot *p, double at)
{
    return LEFT + (int)(at / p->seconds * DRAWN + 0.5);
}

static int y_of(const struct plot *p, uint64_t bytes)
{
    return p->bottom - (int)((double)bytes / (double)p->bytes * (p->bottom - p->top) + 0.5);
}

static void draw_axes(struct ljt_canvas *canvas, const struct plot *p)
{
    char buf[64];
    uint64_t step = ljt_curve_byte_step(p->bytes);
    for (uint64_t at = 0; at <= p->bytes; at += step) {
        struct ljt_text t = LJT_TEXT(buf);
        int y = y_of(p, at);
        if (at >= (uint64_t)1 << 30 && at % (1 << 30) == 0)
            ljt_text_printf(&t, "%llu GiB", (unsigned long long)(at >> 30));
        else if (at % (1 << 20) == 0)
            ljt_text_printf(&t, "%llu MiB", (unsigned long long)(at >> 20));
        else
            ljt_text_printf(&t, "%llu KiB", (unsigned long long)(at >> 10));
        ljt_canvas_text(canvas, LEFT - 12, y + 5, 14, LJT_FAINT, LJT_ALIGN_RIGHT, at == 0 ? "0" : buf);
        ljt_canvas_rects(canvas, LJT_TICK, &(struct ljt_rect){LEFT, y, DRAWN, 1}, 1);
    }
    double second = ljt_curve_second_step(p->seconds);
    for (int i = 0; i * second <= p->seconds * 1.0001; i++) {
        struct ljt_text t = LJT_TEXT(buf);
        int x = x_of(p, i * second);
        ljt_curve_time(&t, i * second);
        ljt_canvas_rects(canvas, LJT_TICK, &(struct ljt_rect){x, p->bottom, 1, 6}, 1);
        /* The first label begins below its tick, the others are in the middle, the last ends where the plot does. */
        int half = (int)t.len * 8 / 2, right = x + half > LEFT + DRAWN + 20 ? LEFT + DRAWN + 20 : x + half;
        ljt_canvas_text(canvas, right, p->bottom + 24, 14, LJT_FAINT, LJT_ALIGN_RIGHT, buf);
    }
}

/* ---- Lines ---- */

static uint64_t rss_of(const struct ljt_sample *s)
{
    return s->rss;
}
static uint64_t resident_of(const struct ljt_sample *s)
{
    return s->resident;
}
static uint64_t floor_of(const struct ljt_sample *s)
{
    return s->floor;
}
static uint64_t live_of(const struct ljt_sample *s)
{
    return s->live;
}

/* Later ones are drawn above earlier ones. The dashes tell them apart where colours don't. */
static const struct {
    const char *name;
    uint32_t colour;
    int dash;
    bool always; /* known of samples without figures, too */
    uint64_t (*of)(const struct ljt_sample *s);
} lines[] = {
    {"RSS", LJT_FAINT, 2, true, rss_of},
    {"resident", LJT_COLOUR_RESIDENT, 0, false, resident_of},
    {"page floor", LJT_COLOUR_FLOOR, 8, false, floor_of},
    {"live", LJT_COLOUR_LIVE, 4, false, live_of},
};

enum { LINES = sizeof(lines) / sizeof(lines[0]) };

static void draw_legend(struct ljt_canvas *canvas, const struct ljt_curve *c, int y)
{
    const struct ljt_sample *last = NULL;
    for (size_t i = 0; i < c->count; i++)
        last = c->samples[i].told || last == NULL ? &c->samples[i] : last;
    for (int i = 0; i < LINES; i++) {
        char buf[96];
        struct ljt_text t = LJT_TEXT(buf);
        int x = LEFT + i * DRAWN / LINES;
        struct ljt_point line[] = {{x, y + 11}, {x + 32, y + 11}};
        ljt_canvas_curve(canvas, lines[i].colour, lines[i].dash, line, 2);
        ljt_text_printf(&t, "%s: ", lines[i].name);
        if (lines[i].always)
            ljt_text_bytes(&t, c->samples[c->count - 1].rss);
        else if (last != NULL && last->told)
            ljt_text_bytes(&t, lines[i].of(last));
        else
            ljt_text_string(&t, "not known");
        ljt_canvas_text(canvas, x + 40, y + 16, 14, LJT_INK, LJT_ALIGN_LEFT, buf);
    }
}

/* The neighbours in time of which the figures are known. False outside of these. */
static bool known_around(const struct ljt_curve *c, double at, size_t *from, size_t *to)
{
    bool before = false;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->samples[i].told)
            continue;
        if (c->samples[i].at > at) {
            *to = i;
            return before;
        }
        *from = *to = i;
        before = true;
    }
    return before && c->samples[*from].at == at;
}

/* What is resident and not needed, between these two lines. */
static void draw_held(struct ljt_canvas *canvas, const struct ljt_curve *c, const struct plot *p)
{
    struct ljt_rect strips[DRAWN / STRIP];
    size_t n = 0;
    for (int x = 0; x < DRAWN; x += STRIP) {
        size_t a, b;
        double at = (double)x / DRAWN * p->seconds;
        if (!known_around(c, at, &a, &b))
            continue;
        const struct ljt_sample *s = &c->samples[a], *e = &c->samples[b];
        double share = e->at > s->at ? (at - s->at) / (e->at - s->at) : 0;
        int top = y_of(p, s->resident) + (int)(share * (y_of(p, e->resident) - y_of(p, s->resident)));
        int bottom = y_of(p, s->floor) + (int)(share * (y_of(p, e->floor) - y_of(p, s->floor)));
        struct ljt_rect *last = n == 0 ? NULL : &strips[n - 1];
        if (last != NULL && last->x + last->w == LEFT + x && last->y == top && last->y + last->h == bottom)
            last->w += STRIP;
        else if (bottom > top)
            strips[n++] = (struct ljt_rect){LEFT + x, top, STRIP, bottom - top};
    }
    ljt_canvas_rects(canvas, LJT_COLOUR_HELD, strips, n);
}

static void draw_line(struct ljt_canvas *canvas, const struct ljt_curve *c, const struct plot *p, int line)
{
    struct ljt_point points[LJT_CURVE_SAMPLES];
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        if (lines[line].always || c->samples[i].told)
            points[n++] =
                (struct ljt_point){x_of(p, c->samples[i].at), y_of(p, lines[line].of(&c->samples[i]))};
    if (n == 0)
        return;
    ljt_canvas_curve(canvas, lines[line].colour, lines[line].dash, points, n);
    /* Where figures are few, a line is a guess between them: show where they are. */
    if (lines[line].always || n > MARKED)
        return;
    struct ljt_rect marks[MARKED];
    for (size_t i = 0; i < n; i++)
        marks[i] = (struct ljt_rect){points[i].x - MARK / 2, points[i].y - MARK / 2, MARK, MARK};
    ljt_canvas_rects(canvas, lines[line].colour, marks, n);
}

void ljt_curve_tell(struct ljt_text *t, const struct ljt_sample *s)
{
    ljt_curve_time(t, s->at);
    ljt_text_string(t, ": RSS ");
    ljt_text_bytes(t, s->rss);
    if (!s->told)
        return;
    ljt_text_string(t, "; arenas: resident ");
    ljt_text_bytes(t, s->resident);
    ljt_text_string(t, ", page floor ");
    ljt_text_bytes(t, s->floor);
    ljt_text_string(t, ", live ");
    ljt_text_bytes(t, s->live);
}

static void draw_tips(struct ljt_canvas *canvas, const struct ljt_curve *c, const struct plot *p)
{
    size_t next = 0;
    for (int i = 0; i < TIPS; i++) {
        int left = LEFT + i * DRAWN / TIPS, right = LEFT + (i + 1) * DRAWN / TIPS;
        double middle = (i + 0.5) / TIPS * p->seconds;
        while (next + 1 < c->count && middle - c->samples[next].at > c->samples[next + 1].at - middle)
            next++;
        char buf[256];
        struct ljt_text t = LJT_TEXT(buf);
        ljt_curve_tell(&t, &c->samples[next]);
        ljt_canvas_tip(canvas, &(struct ljt_rect){left, p->top, right - left, p->bottom - p->top}, buf);
    }
}

void ljt_curve_draw(struct ljt_canvas *canvas, const struct ljt_curve *c, int y)
{
    struct plot p = {.top = y + LEGEND, .bottom = y + LEGEND + PLOT};
    uint64_t most = c->peak_rss > c->peak_resident ? c->peak_rss : c->peak_resident;
    for (size_t i = 0; i < c->count; i++)
        if (c->samples[i].told && c->samples[i].floor > most)
            most = c->samples[i].floor;
    if (c->count == 0)
        return;
    uint64_t step = ljt_curve_byte_step(most);
    p.bytes = (most / step + 1) * step;
    p.seconds = c->samples[c->count - 1].at > 0.1 ? c->samples[c->count - 1].at : 0.1;
    draw_legend(canvas, c, y);
    draw_held(canvas, c, &p);
    draw_axes(canvas, &p);
    for (int i = 0; i < LINES; i++)
        draw_line(canvas, c, &p, i);
    draw_tips(canvas, c, &p);
}
