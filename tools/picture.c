#include "picture.h"

void ljt_picture_begin(struct ljt_canvas *c)
{
    static const uint32_t darks[][2] = {
        {LJT_PAPER, LJT_DARK_PAPER},
        {LJT_INK, 0xe6ebf0},
        {LJT_FAINT, 0x9aa8b5},
        {LJT_TICK, 0x3d4a56},
        {LJT_COLOUR_LIVE, LJT_DARK_LIVE},
        {LJT_COLOUR_FLOOR, LJT_DARK_FLOOR},
        {LJT_COLOUR_FREE, LJT_DARK_FREE},
        {LJT_COLOUR_PURGED, LJT_DARK_PURGED},
        {LJT_COLOUR_RESIDENT, 0xf0934a},
        {LJT_COLOUR_HELD, 0x4a3320},
    };
    ljt_canvas_rects(c, LJT_PAPER, &(struct ljt_rect){0, 0, c->width, c->height}, 1);
    for (size_t i = 0; i < sizeof(darks) / sizeof(darks[0]); i++)
        ljt_canvas_dark(c, darks[i][0], darks[i][1]);
}
