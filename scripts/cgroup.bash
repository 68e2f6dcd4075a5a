# Control groups of our own below the one we are in, of version 1 or 2, whichever the machine has. Read by scripts/oom-duel
# and bench/run. Nothing that was there before is changed, but for this: in version 2 a group that has children with
# controllers may hold no processes itself, so ours move to a child first, and only if all of them are our own.
#
#   cgroup_begin memory|cpu       0 if groups can be made; else the reason is in $cgroup_why
#   cgroup_make NAME              makes a group, sets $cgroup to its directory
#   cgroup_set GROUP FILE VALUE   FILE is one of limit, high (version 2), quota (us of 100,000)
#   cgroup_get GROUP FILE         FILE is one of usage, peak (the highest usage; nothing where the kernel can't tell), kills
#   cgroup_end                    removes the groups; their processes have to be gone

cgroup_version= cgroup_base= cgroup_why= cgroup_made=() cgroup_home=

cgroup_begin() {
	local mount path
	cgroup_made=()
	mount=$(awk -v c="$1" '$3 == "cgroup" && $4 ~ "(^|,)" c "(,|$)" { print $2; exit }' /proc/mounts)
	if [ -n "$mount" ]; then
		cgroup_version=1
		path=$(awk -F: -v c="$1" '$2 ~ "(^|,)" c "(,|$)" { print $3 }' /proc/self/cgroup)
	else
		cgroup_version=2
		mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
		path=$(awk -F: '$1 == 0 { print $3 }' /proc/self/cgroup)
	fi
	[ -n "$mount" ] || {
		cgroup_why="no control groups are mounted"
		return 1
	}
	cgroup_base=$mount${path%/}
	[ -d "$cgroup_base" ] || cgroup_base=$mount # a container that sees its own group as the root
	[ -w "$cgroup_base" ] || {
		cgroup_why="$cgroup_base is not writable: run it as root, or by systemd-run --user --scope -p Delegate=yes"
		return 1
	}
	[ $cgroup_version = 1 ] || cgroup_delegate "$1"
}

# Version 2: may children of our group have this controller?
cgroup_delegate() {
	grep -qw "$1" "$cgroup_base/cgroup.controllers" || {
		cgroup_why="$cgroup_base has no $1 controller"
		return 1
	}
	! grep -qw "$1" "$cgroup_base/cgroup.subtree_control" || return 0
	local pid
	if [ -e "$cgroup_base/cgroup.type" ]; then # not the root of all
		for pid in $(cat "$cgroup_base/cgroup.procs"); do
			case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
			'' | *oom-duel* | *bench/run* | "make bench"*) ;;
			*)
				cgroup_why="$cgroup_base holds other processes, too: run it by systemd-run --scope -p Delegate=yes"
				return 1
				;;
			esac
		done
		cgroup_home=$cgroup_base/ljtrim-home.$$
		mkdir "$cgroup_home"
		for pid in $(cat "$cgroup_base/cgroup.procs"); do
			echo "$pid" >"$cgroup_home/cgroup.procs" 2>/dev/null || true
		done
	fi
	echo "+$1" >"$cgroup_base/cgroup.subtree_control" 2>/dev/null || {
		cgroup_why="$cgroup_base/cgroup.subtree_control refuses $1"
		return 1
	}
}

cgroup_make() {
	cgroup=$cgroup_base/ljtrim-$1.$$
	mkdir "$cgroup" 2>/dev/null || {
		cgroup_why="$cgroup cannot be made"
		return 1
	}
	cgroup_made+=("$cgroup")
}

cgroup_set() {
	case $2$cgroup_version in
	limit1)
		echo "$3" >"$1/memory.limit_in_bytes"
		# no swap beyond it; the file is there only where swap is accounted
		[ ! -e "$1/memory.memsw.limit_in_bytes" ] || echo "$3" >"$1/memory.memsw.limit_in_bytes"
		;;
	limit2)
		echo "$3" >"$1/memory.max"
		[ ! -e "$1/memory.swap.max" ] || echo 0 >"$1/memory.swap.max"
		;;
	high2) echo "$3" >"$1/memory.high" ;;
	quota1) echo "$3" >"$1/cpu.cfs_quota_us" ;;
	quota2) echo "$3 100000" >"$1/cpu.max" ;;
	esac
}

cgroup_get() {
	case $2$cgroup_version in
	usage1) cat "$1/memory.usage_in_bytes" ;;
	usage2) cat "$1/memory.current" ;;
	peak1) cat "$1/memory.max_usage_in_bytes" ;;
	peak2) cat "$1/memory.peak" 2>/dev/null || true ;; # since Linux 5.19
	kills1) awk '$1 == "oom_kill" { print $2 }' "$1/memory.oom_control" ;;
	kills2) awk '$1 == "oom_kill" { print $2 }' "$1/memory.events" ;;
	esac
}

cgroup_end() {
	local group try pid
	for group in "${cgroup_made[@]}"; do
		for try in {1..50}; do
			rmdir "$group" 2>/dev/null && break
			sleep 0.1
		done
	done
	cgroup_made=()
	if [ -n "$cgroup_home" ] && [ -d "$cgroup_home" ]; then
		for pid in $(cat "$cgroup_base/cgroup.subtree_control"); do
			echo "-$pid" >"$cgroup_base/cgroup.subtree_control" 2>/dev/null || true
		done
		for pid in $(cat "$cgroup_home/cgroup.procs"); do
			echo "$pid" >"$cgroup_base/cgroup.procs" 2>/dev/null || true
		done
		rmdir "$cgroup_home" 2>/dev/null || true
	fi
}
