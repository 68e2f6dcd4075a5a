#include "canvas.h"

#include <errno.h>
#include <string.h>

struct ljt_canvas *ljt_canvas_open(const char *path, int width, int height)
{
    size_t n = strlen(path);
    struct ljt_canvas *c = NULL;
    if (n > 4 && strcmp(path + n - 4, ".svg") == 0)
        c = ljt_canvas_open_svg(path, width, height);
    else if (n > 4 && strcmp(path + n - 4, ".png") == 0)
        c = ljt_canvas_open_png(path, width, height);
    else
        errno = ENOTSUP;
    return c;
}

void ljt_canvas_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count)
{
    c->rects(c, colour, rects, count);
}

void ljt_canvas_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text)
{
    c->text(c, x, y, size, colour, align, text);
}

/* A letter takes 6 columns of dots, 7 rows are its height; the last column is space. */
int ljt_canvas_text_width(int size, const char *text)
{
    int dot = size < 7 ? 1 : size / 7;
    return (int)strlen(text) * 6 * dot - dot;
}

void ljt_canvas_curve(struct ljt_canvas *c, uint32_t colour, int dash, const struct ljt_point *points,
                      size_t count)
{
    if (count != 0)
        c->curve(c, colour, dash, points, count);
}

void ljt_canvas_tip(struct ljt_canvas *c, const struct ljt_rect *r, const char *text)
{
    if (c->tip != NULL)
        c->tip(c, r, text);
}

void ljt_canvas_dark(struct ljt_canvas *c, uint32_t colour, uint32_t dark)
{
    if (c->dark != NULL)
        c->dark(c, colour, dark);
}

int ljt_canvas_close(struct ljt_canvas *c)
{
    return c->close(c);
}
