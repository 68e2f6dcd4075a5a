/*
 * memory: two cores, M (a mutator's) and R (the reclaimer's), and what they may do to the order of accesses.
 *
 * A store waits in its core's buffer; the core's own loads see it there (forwarding), others see memory. The
 * hardware takes stores out whenever it likes:
 *   x86    oldest first.
 *   ARM64  in any order, but for stores to the same location, and a release store waits until it is the oldest.
 *          A load may be performed early: the value is kept until the program comes to the load. An acquire
 *          load discards what was loaded before it was itself performed.
 * A load is early when the value has changed since; until then nobody can tell. So a value is kept in the moment
 * before another core changes it, and only then: the latest moment has the fewest acquires still before it. That
 * is the same behaviours in a small part of the states.
 *
 * An RMW waits for the core's stores and acts on memory; FENCE too, and forgets early loads. On ARM64 an RMW is
 * two accesses, though: loads behind it may be performed before its store (RMW_THEN_LOAD). MEMBARRIER does what the
 * kernel's interrupt does: the other core's buffer is emptied and its early loads are forgotten, at some moment
 * between call and return.
 *
 * Not modelled: loads performed late. Exit's release, the only store that matters here, orders loads as well as
 * stores before it. What is left out of `mem` (locks, states) is accessed by RMW, seq_cst or kernel calls only.
 *
 * The includer says how many locations there are (LOCS), who loads which at all, READS(t, x), for which of these
 * that is an acquire, ACQUIRES(t, x), and which two may be acquired ahead of plain loads: FIRST, by R alone, and
 * SECOND.
 */
#define M 0
#define R 1

#ifndef DEPTH
#define DEPTH 2 /* of a buffer; more than two stores out of order need not be told from two */
#endif

typedef core {
    byte n; /* stores that wait, oldest first */
    byte loc[DEPTH], val[DEPTH];
    bool release[DEPTH];
    bool is_early[LOCS];
    byte early[LOCS];
};

byte mem[LOCS];
core cpu[2];
byte k; /* scratch, within one step; 0 between */

#define BUFFERED(t, i, x) (cpu[t].n > i && cpu[t].loc[i] == x)
#define PENDING(t, x) (BUFFERED(t, 0, x) || BUFFERED(t, 1, x))

inline forget_early(t)
{
    k = 0;
    do
    :: k < LOCS -> cpu[t].is_early[k] = false; cpu[t].early[k] = 0; k++
    :: else -> break
    od;
    k = 0
}

/* Core t loads x, which is about to change, just in time. */
#define MAY_KEEP(t, x) (READS(t, x) && !PENDING(t, x))
inline keep(o, y)
{
    if
    :: ACQUIRES(o, y) -> forget_early(o)
    :: else
    fi;
    cpu[o].early[y] = mem[y];
    cpu[o].is_early[y] = true
}

inline take_out(t, i)
{
    mem[cpu[t].loc[i]] = cpu[t].val[i];
    if
    :: i == 0 ->
        cpu[t].loc[0] = cpu[t].loc[1]; cpu[t].val[0] = cpu[t].val[1]; cpu[t].release[0] = cpu[t].release[1]
    :: else
    fi;
    cpu[t].loc[1] = 0; cpu[t].val[1] = 0; cpu[t].release[1] = false;
    cpu[t].n--;
    if
    :: cpu[t].n == 0 -> cpu[t].loc[0] = 0; cpu[t].val[0] = 0; cpu[t].release[0] = false
    :: else
    fi
}

inline take_out_all(t)
{
    do
    :: cpu[t].n > 0 -> take_out(t, 0)
    :: else -> break
    od;
    forget_early(t)
}

inline drop_stores(t)
{
    cpu[t].n = 0;
    cpu[t].loc[0] = 0; cpu[t].val[0] = 0; cpu[t].release[0] = false;
    cpu[t].loc[1] = 0; cpu[t].val[1] = 0; cpu[t].release[1] = false;
    forget_early(t)
}

#define RELAXED false
#define RELEASE true

inline STORE(t, x, v, order)
{
    d_step {
        cpu[t].n < DEPTH;
        cpu[t].loc[cpu[t].n] = x;
        cpu[t].val[cpu[t].n] = v;
        cpu[t].release[cpu[t].n] = order;
        cpu[t].n++;
        cpu[t].is_early[x] = false; cpu[t].early[x] = 0
    }
}

inline LOAD(t, x, to)
{
    atomic {
        if
        :: BUFFERED(t, 1, x) -> to = cpu[t].val[1]
        :: !BUFFERED(t, 1, x) && BUFFERED(t, 0, x) -> to = cpu[t].val[0]
        :: !PENDING(t, x) && cpu[t].is_early[x] -> to = cpu[t].early[x]
        :: !PENDING(t, x) -> d_step {
                to = mem[x];
                cpu[t].is_early[x] = false; cpu[t].early[x] = 0;
                if
                :: ACQUIRES(t, x) -> forget_early(t)
                :: else
                fi
            }
        fi
    }
}

/*
 * Core o has performed an acquire load of y already; y need not change for that to matter, since what is loaded
 * early after it stays. The latest moment is just before such a load.
 */
#define MAY_ACQUIRE(o, y, z) (READS(o, y) && ACQUIRES(o, y) && !cpu[o].is_early[y] && !PENDING(o, y) && \
    READS(o, z) && !ACQUIRES(o, z) && !PENDING(o, z))

/* Location z is about to change: the other core may have loaded it just before. */
inline before_write(c, z)
{
#ifdef ARM64
    if
    :: skip
    :: c == M && MAY_KEEP(R, z) -> d_step { keep(R, z) }
    :: c == R && MAY_KEEP(M, z) -> d_step { keep(M, z) }
    :: c == M && MAY_ACQUIRE(R, FIRST, z) -> d_step { keep(R, FIRST); keep(R, z) }
    :: c == M && MAY_ACQUIRE(R, SECOND, z) -> d_step { keep(R, SECOND); keep(R, z) }
    :: c == M && MAY_ACQUIRE(R, FIRST, z) && MAY_ACQUIRE(R, SECOND, z) ->
        d_step { keep(R, FIRST); cpu[R].early[SECOND] = mem[SECOND]; cpu[R].is_early[SECOND] = true; keep(R, z) }
    :: c == R && MAY_ACQUIRE(M, SECOND, z) -> d_step { keep(M, SECOND); keep(M, z) }
    fi
#else
    skip
#endif
}

inline RMW(t, x, v)
{
    atomic {
        cpu[t].n == 0;
        before_write(t, x);
        d_step { mem[x] = v; forget_early(t) }
    }
}

/* Its release dropped: stores before it may be seen after it. On x86 there is no such thing. */
inline RMW_NOT_RELEASING(t, x, v)
{
    atomic {
#ifndef ARM64
        cpu[t].n == 0;
#endif
        before_write(t, x);
        d_step { mem[x] = v; forget_early(t) }
    }
}

/* x |= set, whose load and store are apart: what is loaded behind it may have been loaded between. */
inline RMW_THEN_LOAD(t, x, set, old)
{
#ifdef ARM64
    do
    :: d_step { forget_early(t); old = mem[x] }
        atomic { cpu[t].n == 0;
            if
            :: mem[x] == old -> before_write(t, x); mem[x] = old | set; old = 0; break
            :: else -> old = 0
            fi
        }
    od
#else
    RMW(t, x, mem[x] | set)
#endif
}

inline FENCE(t)
{
    d_step { cpu[t].n == 0; forget_early(t) }
}

inline MEMBARRIER()
{
    FENCE(R);
    atomic {
        do
        :: cpu[M].n > 0 -> before_write(M, cpu[M].loc[0]); d_step { take_out(M, 0) }
        :: else -> break
        od;
        d_step { forget_early(M); forget_early(R) }
    }
}

proctype hardware(bit t)
{
    do
    :: atomic { cpu[t].n > 0 -> before_write(t, cpu[t].loc[0]); d_step { take_out(t, 0) } }
#ifdef ARM64
    :: atomic {
            cpu[t].n > 1 && !cpu[t].release[1] && cpu[t].loc[1] != cpu[t].loc[0] ->
            before_write(t, cpu[t].loc[1]);
            d_step { take_out(t, 1) }
        }
#endif
    od
}
