#include "canvas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct svg {
    struct ljt_canvas canvas;
    FILE *file;
};

static void svg_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count)
{
    FILE *f = ((struct svg *)c)->file;
    if (count == 0)
        return;
    fprintf(f, "<path fill=\"#%06x\" d=\"", colour);
    for (size_t i = 0; i < count; i++) {
        const struct ljt_rect *r = &rects[i];
        fprintf(f, "M%d %dh%dv%dh-%dz%s", r->x, r->y, r->w, r->h, r->w, i % 16 == 15 ? "\n" : "");
    }
    fputs("\"/>\n", f);
}

static void svg_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text)
{
    FILE *f = ((struct svg *)c)->file;
    fprintf(f, "<text x=\"%d\" y=\"%d\" font-size=\"%d\" fill=\"#%06x\"%s>", x, y, size + 1 + size / 7,
            colour, align == LJT_ALIGN_RIGHT ? " text-anchor=\"end\"" : "");
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        default: fputc(*text >= ' ' && *text <= '~' ? *text : '?', f);
        }
    }
    fputs("</text>\n", f);
}

static int svg_close(struct ljt_canvas *c)
{
    FILE *f = ((struct svg *)c)->file;
    fputs("</svg>\n", f);
    int error = ferror(f) ? -EIO : 0;
    if (fclose(f) != 0 && error == 0)
        error = -errno;
    free(c);
    return error;
}

struct ljt_canvas *ljt_canvas_open_svg(const char *path, int width, int height)
{
    struct svg *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->canvas = (struct ljt_canvas){path, width, height, svg_rects, svg_text, svg_close};
    s->file = fopen(path, "we");
    if (s->file == NULL) {
        free(s);
        return NULL;
    }
    fprintf(s->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"Helvetica, Arial, sans-serif\" shape-rendering=\"crispEdges\">\n",
            width, height, width, height);
    return &s->canvas;
}
