/* The page map as a part of a picture: the shares of all pages with a legend, then the arenas, cell by cell. */
#ifndef LJT_PAGE_MAP_H
#define LJT_PAGE_MAP_H

#include "inspection.h"
#include "picture.h"

/* Rows of a map that keeps a file small: then a row has 128 cells at most. */
enum { LJT_PAGE_MAP_SMALL = 96 };

/*
 * The canvas is LJT_PICTURE_WIDTH wide; the map takes its height from y on, a margin below included. Where the
 * arenas have more pages than max_rows rows have cells, cells stand for more pages. 0 or -ENOMEM.
 */
int ljt_page_map_height(const struct ljt_inspection *n, int max_rows);
int ljt_page_map_draw(struct ljt_canvas *canvas, const struct ljt_inspection *n, int max_rows, int y);

#endif
