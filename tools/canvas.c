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
    if (c != NULL)
        ljt_canvas_rects(c, 0xffffff, &(struct ljt_rect){0, 0, width, height}, 1);
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

int ljt_canvas_close(struct ljt_canvas *c)
{
    return c->close(c);
}
