/*
 * stats_fields: every figure, one line each.
 *
 * Gathering, totals, the dump, JSON, Prometheus, what other processes read (ljtrim stats) and the check of
 * docs/STATS.md all follow this table; a new figure is a line here, a line there, and where it is counted.
 *
 *     X(name, scope, kind, source, text, metric, help)
 *
 *     name    in JSON; as LJT_STATS_name in the code. Other versions find a figure by it: never reuse one
 *     scope   PROCESS, or one or both of TOTAL and ARENA
 *     kind    what the number is; kinds ending in _TOTAL are counters: a total counts VMs that are gone, too
 *     source  AT(member of struct ljt_arena_stats), or COMPUTED in stats.c
 *     text    what stands before it in the dump, "\n" where a line begins; NULL: not there. Order is the dump's
 *     metric  its name in Prometheus after "ljtrim_"; NULL: not there. Of TOTAL and PROCESS figures alone
 *     help    one phrase
 */
#ifndef LJT_STATS_FIELDS_H
#define LJT_STATS_FIELDS_H

/* clang-format off */
#define LJT_STATS_TABLE(X) \
    X(pid, PROCESS, ID, COMPUTED, NULL, NULL, "The process, as it knows itself.") \
    X(time_unix_ms, PROCESS, UNIX_MS, COMPUTED, NULL, NULL, "When the figures were gathered.") \
    X(mode, PROCESS, MODE, COMPUTED, NULL, NULL, "What is done with Lua heaps.") \
    X(membarrier, PROCESS, FLAG, COMPUTED, NULL, NULL, "The kernel's membarrier is in use.") \
    X(reclaimer, PROCESS, FLAG, COMPUTED, NULL, "reclaimer_running", "The reclaimer's thread runs.") \
    X(paused, PROCESS, FLAG, COMPUTED, NULL, "paused", "The program has paused the library.") \
    X(pressure, PROCESS, COUNT, COMPUTED, NULL, "memory_pressure", "0: memory is not short; 1: its limit is near; 2: purging at once.") \
    X(budget_wait_ns, PROCESS, NS, COMPUTED, NULL, "cpu_budget_wait_seconds", "For how long nothing is done, as the CPU budget is spent; 0: some is left.") \
    X(arenas, PROCESS, COUNT, COMPUTED, NULL, "arenas", "Lua heaps that are looked after.") \
    X(arenas_left_alone, PROCESS, COUNT, COMPUTED, NULL, "arenas_left_alone", "Lua heaps that were given up.") \
    \
    X(address, ARENA, ADDRESS, COMPUTED, NULL, NULL, "Where the allocator's state lies.") \
    X(gc_bits, ARENA, COUNT, COMPUTED, NULL, NULL, "Width of the VM's own counter of live bytes.") \
    X(wrapped, ARENA, FLAG, COMPUTED, NULL, NULL, "The program put its own function before ours.") \
    X(patched, ARENA, FLAG, COMPUTED, NULL, NULL, "The library's allocator serves the VM.") \
    X(parked, ARENA, BYTES, COMPUTED, NULL, NULL, "Of what is purgeable, what the library's allocator keeps out of the VM's sight.") \
    X(segments, TOTAL | ARENA, COUNT, AT(segments), NULL, "segments", "Segments of Lua heaps.") \
    \
    X(mapped, TOTAL | ARENA, BYTES, AT(mapped), "  mapped   ", "mapped_bytes", "Address space of the segments of Lua heaps.") \
    X(live, TOTAL | ARENA, BYTES, COMPUTED, "  live     ", "live_bytes", "What VMs count as in use, directly mapped blocks left out.") \
    X(free, TOTAL | ARENA, BYTES, COMPUTED, "  free  ", "free_bytes", "Mapped and not live.") \
    X(fragmentation, TOTAL | ARENA, PER_MILLE, COMPUTED, "  fragmentation ", NULL, "The free share of what is mapped.") \
    X(resident, TOTAL | ARENA, BYTES, AT(resident), "\n  resident ", "resident_bytes", "Pages of Lua heaps that were in memory at the last look.") \
    X(floor, TOTAL | ARENA, BYTES, COMPUTED, "  page floor ", "page_floor_bytes", "Pages that are needed: no purge can go below.") \
    X(purgeable, TOTAL | ARENA, BYTES, COMPUTED, "  purgeable ", "purgeable_bytes", "Whole pages inside free chunks, resident or not.") \
    X(purged, TOTAL | ARENA, BYTES_TOTAL, AT(purged), "\n  purged   ", "purged_bytes_total", "Memory given back to the kernel.") \
    X(purge_calls, TOTAL | ARENA, COUNT_TOTAL, AT(purge_calls), " in ", "purge_calls_total", "System calls that gave memory back.") \
    X(refaults, TOTAL | ARENA, BYTES_TOTAL, AT(refaults), " calls  refaults ", "refault_bytes_total", "Memory given back that was found in use again.") \
    X(judged, TOTAL | ARENA, BYTES_TOTAL, AT(judged), NULL, "judged_bytes_total", "Memory given back whose window is over.") \
    X(early_refaults, TOTAL | ARENA, BYTES_TOTAL, AT(early), "  early ", "early_refault_bytes_total", "Of it, what was in use again within the window.") \
    X(score, TOTAL | ARENA, PER_MILLE, COMPUTED, "  score ", NULL, "The share of what was judged that was not early.") \
    X(decay_ns, ARENA, NS, AT(decay), "\n  decay ", NULL, "How long a page must be free now: the decay in force.") \
    X(quiet, ARENA, FLAG, AT(quiet), NULL, NULL, "The VM makes few calls: no stretched decay, no slack.") \
    X(direct, TOTAL, BYTES, COMPUTED, "\n  direct   ", "direct_bytes", "Large blocks of LuaJIT's with mappings of their own.") \
    X(reclaimer_cpu_ns, TOTAL, NS_TOTAL, COMPUTED, "  reclaimer CPU ", "reclaimer_cpu_seconds_total", "CPU time of the reclaimer's thread.") \
    X(unit_cpu_ns, TOTAL | ARENA, NS_TOTAL, AT(unit_cpu), NULL, "unit_cpu_seconds_total", "CPU time that VMs have spent in units of work.") \
    X(looks, TOTAL | ARENA, COUNT_TOTAL, AT(looks), "\n  looks ", "looks_total", "Complete passes over the free chunks of a heap.") \
    X(units_by_vm, TOTAL | ARENA, COUNT_TOTAL, AT(units[0]), "  units by the VM ", "units_by_vm_total", "Units of work done by a VM's own thread.") \
    X(units_by_reclaimer, TOTAL | ARENA, COUNT_TOTAL, AT(units[1]), ", by the reclaimer ", "units_by_reclaimer_total", "Units of work done by the reclaimer, under a hold.") \
    X(withdrawn, TOTAL | ARENA, COUNT_TOTAL, AT(withdrawn), "\n  withdrawn ", "holds_withdrawn_total", "Holds given up because a call was under way.") \
    X(descheduled, TOTAL | ARENA, COUNT_TOTAL, AT(descheduled), "  descheduled ", "holds_descheduled_total", "Holds during which the kernel took the processor away.") \
    X(crowded, TOTAL | ARENA, COUNT_TOTAL, AT(crowded), "  crowded ", "crowded_total", "Mappings that a VM made while some of its heap was claimed.") \
    X(adoption_ns, TOTAL | ARENA, NS_TOTAL, AT(adoption), "  adoption ", "adoption_seconds_total", "What VMs have waited for their heaps to be taken over, once each.") \
    X(nudges, TOTAL | ARENA, COUNT_TOTAL, AT(nudges), "\n  nudges ", "nudges_total", "Garbage collections that were begun in quiet VMs.") \
    X(collected, TOTAL | ARENA, BYTES_TOTAL, AT(collected), "  collected ", "collected_bytes_total", "What these collections have freed.") \
    X(idle_steps, TOTAL | ARENA, COUNT_TOTAL, AT(idle_steps), "  idle steps ", "idle_steps_total", "Collector steps made while the program waited for events.") \
    X(idle_collected, TOTAL | ARENA, BYTES_TOTAL, AT(idle_collected), "  collected ", "idle_collected_bytes_total", "What these have freed.") \
    X(waits, TOTAL | ARENA, COUNT_TOTAL, COMPUTED, "\n  waits ", NULL, "Entries into the gate's slow path.") \
    X(waits_sum_ns, TOTAL | ARENA, NS_TOTAL, COMPUTED, NULL, NULL, "Sum of the waits.") \
    X(waits_p50_ns, TOTAL | ARENA, NS, COMPUTED, " p50 ", NULL, "Median wait.") \
    X(waits_p99_ns, TOTAL | ARENA, NS, COMPUTED, " p99 ", NULL, "Wait that 99% do not exceed.") \
    X(waits_p999_ns, TOTAL | ARENA, NS, COMPUTED, " p99.9 ", NULL, "Wait that 99.9% do not exceed.") \
    X(waits_max_ns, TOTAL | ARENA, NS, COMPUTED, " max ", NULL, "Longest wait.") \
    X(holds, TOTAL | ARENA, COUNT_TOTAL, COMPUTED, "\n  holds ", NULL, "Holds of a heap by the reclaimer.") \
    X(holds_sum_ns, TOTAL | ARENA, NS_TOTAL, COMPUTED, NULL, NULL, "Sum of the holds.") \
    X(holds_p50_ns, TOTAL | ARENA, NS, COMPUTED, " p50 ", NULL, "Median hold.") \
    X(holds_p99_ns, TOTAL | ARENA, NS, COMPUTED, " p99 ", NULL, "Hold that 99% do not exceed.") \
    X(holds_p999_ns, TOTAL | ARENA, NS, COMPUTED, " p99.9 ", NULL, "Hold that 99.9% do not exceed.") \
    X(holds_max_ns, TOTAL | ARENA, NS, COMPUTED, " max ", NULL, "Longest hold.")
/* clang-format on */

#endif
