/* What the pictures have in common: where things lie, and which colour means what, by day and in the dark. */
#ifndef LJT_PICTURE_H
#define LJT_PICTURE_H

#include "canvas.h"

enum {
    LJT_PICTURE_MARGIN = 32,
    LJT_PICTURE_AXIS = 120,   /* room for labels, left of what is drawn */
    LJT_PICTURE_DRAWN = 1024, /* pixels that a row of cells, or the whole time takes */
    LJT_PICTURE_LEFT = LJT_PICTURE_MARGIN + LJT_PICTURE_AXIS,
    LJT_PICTURE_WIDTH = LJT_PICTURE_LEFT + LJT_PICTURE_DRAWN + LJT_PICTURE_MARGIN
};

enum {
    LJT_PAPER = 0xffffff,
    LJT_INK = 0x1b2733,
    LJT_FAINT = 0x5b6a78,
    LJT_TICK = 0xc3ccd3,
    LJT_COLOUR_LIVE = 0x0b4f6c,
    LJT_COLOUR_FLOOR = 0x4fa3c7, /* pages partly live, and what all pages that are needed add up to */
    LJT_COLOUR_FREE = 0xf4a259,
    LJT_COLOUR_PURGED = 0xe8edf0,
    LJT_COLOUR_RESIDENT = 0xc8641b, /* a line in the colour of free pages has to be darker than an area */
    LJT_COLOUR_HELD = 0xfbe3cc,     /* between resident and floor */

    LJT_DARK_PAPER = 0x12181f,
    LJT_DARK_LIVE = 0x8fd3f0,
    LJT_DARK_FLOOR = 0x3c89ab,
    LJT_DARK_FREE = 0xe08a3c,
    LJT_DARK_PURGED = 0x222c36
};

/* Fills the canvas with paper and tells it the colours in the dark. */
void ljt_picture_begin(struct ljt_canvas *c);

#endif
