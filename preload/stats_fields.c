#include "stats_fields.h"

#include <assert.h>

#include "arena.h"
#include "stats.h"

#define PROCESS LJT_STATS_PROCESS
#define TOTAL LJT_STATS_TOTAL
#define ARENA LJT_STATS_ARENA
#define AT(member) (int)offsetof(struct ljt_arena_stats, member)
#define COMPUTED LJT_STATS_COMPUTED
#define FIELD(name, scope, kind, source, text, metric, help) \
    {#name, scope, LJT_STATS_##kind, source, text, metric, help},

const struct ljt_stats_field ljt_stats_fields[LJT_STATS_FIELDS] = {LJT_STATS_TABLE(FIELD)};

#undef FIELD
#undef COMPUTED
#undef AT
#undef ARENA
#undef TOTAL
#undef PROCESS

#define FITS(name, ...) static_assert(sizeof(#name) <= LJT_STATS_NAME_SIZE, "terminated: " #name);
LJT_STATS_TABLE(FITS)
#undef FITS
