# Does the preloaded worker's trough hold? Reads what scripts/demo's look() has written: time, which, then what
# ljtrim inspect --csv says. Prints the verdict; status 1: it does not. The bound is that of the system tests
# (arena_excess_kb).

BEGIN { FS = "," }
$2 == "preloaded" {
    floor = $9 / 1048576
    resident = $10 / 1048576
    allowed = floor / 20 > 1 ? floor / 20 : 1
    told = 1
}
END {
    if (!told) {
        print "nobody has looked at the preloaded worker's trough"
        exit 1
    }
    holds = resident <= floor + allowed
    printf "the trough %s: 5 s after it began %.1f MiB of the arena are resident, its page floor is %.1f MiB, %.1f more are allowed\n",
        holds ? "holds" : "does not hold", resident, floor, allowed
    exit !holds
}
