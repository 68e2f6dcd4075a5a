# Reads a callgrind profile of one thread. Prints: instructions in total, calls of trampoline_*, and the
# instructions of the trampoline itself (without what it calls).
#
# Names are written once, `fn=(12) name`, and referred to as `fn=(12)` afterwards. The line after `calls=` has
# the cost of the callee, every other line of figures is the current function's own.

function name(field,    id) {
    id = substr(field, 1, index(field, ")"))
    if (length(field) > length(id))
        names[id] = substr(field, length(id) + 2)
    return names[id]
}

/^fn=/ { ours = name(substr($0, 4)) ~ /^trampoline_[0-9a-f]+$/ }
/^cfn=/ { callee = name(substr($0, 5)) ~ /^trampoline_[0-9a-f]+$/ }
/^calls=/ {
    if (callee) calls += substr($1, 7)
    inclusive = 1
    next
}
/^[0-9+*-]/ {
    if (!inclusive) {
        total += $2
        if (ours) own += $2
    }
    inclusive = 0
}
END { printf "%.0f %.0f %.0f\n", total, calls, own }
