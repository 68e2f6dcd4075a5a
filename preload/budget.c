#include "budget.h"

#define WORTH_WAKING ((int64_t)500000)

void ljt_budget_open(struct ljt_budget *b, uint64_t now)
{
    b->left = LJT_BUDGET_DEPTH;
    b->filled = now;
}

void ljt_budget_update(struct ljt_budget *b, uint64_t now, double percent, uint64_t spent)
{
    double filled = (double)(now - b->filled) * percent / 100.0;
    b->filled = now;
    b->left = filled < (double)(LJT_BUDGET_DEPTH - b->left) ? b->left + (int64_t)filled : LJT_BUDGET_DEPTH;
    if (spent > (uint64_t)(b->left + LJT_BUDGET_DEPTH))
        b->left = -LJT_BUDGET_DEPTH;
    else
        b->left -= (int64_t)spent;
}

uint64_t ljt_budget_wait(const struct ljt_budget *b, double percent)
{
    return b->left > 0 ? 0 : (uint64_t)((double)(WORTH_WAKING - b->left) * 100.0 / percent);
}

uint64_t ljt_budget_faults(uint64_t bytes)
{
    return (bytes >> 12) * LJT_BUDGET_FAULT;
}
