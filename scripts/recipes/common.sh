# shellcheck shell=sh disable=SC2034 # what is set here is used by the scripts
# What the recipes share. Sourced, never run; copy it along with them.
#
# Descriptors: 9 what we hold (an ephemeral file goes when the last copy of it is closed), 6 a place in a line, 7 a stream of
# changes, 8 the caller's standard input. Whatever runs for long and should not hold what we hold gets 6 and 9 closed.

LOST=75        # what the command ran under is lost; worth another try
UNKNOWN=74     # it cannot be told whether it happened
UNAVAILABLE=69 # ZooKeeper or the mount does not answer
MISSING=66     # not there, or not on a mount
USAGE=64

self=${0##*/}
at=${ZKMOUNT_AT:-@}
# The name that this host goes by.
host=${ZKMOUNT_HOST:-$(uname -n)}

say() { printf '%s: %s\n' "$self" "$*" >&2; }
fail() {
    code=$1
    shift
    say "$*"
    exit "$code"
}
misused() {
    usage >&2
    exit "$USAGE"
}

# helped ARGUMENT...: prints the usage if that is what is asked for.
helped() {
    case ${1:-} in -h | --help) usage; exit 0 ;; esac
}

# need_number TEXT...: a number of at least 1.
need_number() {
    for number in "$@"; do
        case $number in '' | 0* | *[!0-9]*) misused ;; esac
    done
}

# need_dir DIR...: makes what is missing of the directories, and finds the mount that the first is on.
need_dir() {
    mkdir -p -- "$@" || exit "$MISSING"
    need_mount "$1"
}

# need_mount PATH: finds the root of the mount.
need_mount() {
    root=$(stat -c %m -- "$1") || exit "$MISSING"
    root=${root%/}
    [ -e "$root/${at}session" ] || fail "$MISSING" "$1 is not on a zkmount"
}

# read_session: what the daemon knows of its session, which it says at once, connected or not.
read_session() {
    connected='' session_now='' timeout_ms=0 validity_ms=0
    answer=$(cat "$root/${at}session" 2>/dev/null) || return 1
    for line in $answer; do
        case $line in
            state=connected) connected=yes ;;
            id=*) session_now=${line#*=} ;;
            timeout_ms=*) timeout_ms=${line#*=} ;;
            validity_ms=*) validity_ms=${line#*=} ;;
        esac
    done
    [ -n "$session_now" ]
}

# read_stat PATH: the Stat as the server knows it now: $czxid, $version, $owner, $mtime, $children. Exact, unlike [ -e PATH ], which
# may be a second late about what another host has removed.
read_stat() {
    czxid='' version='' owner='' mtime='' children=''
    # What went away just now is stale, once.
    for look in 1 2 3; do
        answer=$(LC_ALL=C cat "$1${at}stat" 2>&1 6>&- 9>&-) && break
        case $look,$answer in [12],*'Stale file handle') ;; *) return 1 ;; esac
    done
    for line in $answer; do
        case $line in
            czxid=*) czxid=${line#*=} ;;
            version=*) version=${line#*=} ;;
            ephemeralOwner=*) owner=${line#*=} ;;
            mtime=*) mtime=${line#*=} ;;
            numChildren=*) children=${line#*=} ;;
        esac
    done
    [ -n "$czxid" ]
}

# seconds MILLISECONDS: as sleep(1) and timeout(1) take them.
seconds() { printf '%d.%03d\n' "$(($1 / 1000))" "$(($1 % 1000))"; }

# now: milliseconds.
now() { date +%s%3N; }

# expired: whether $deadline, if there is one, has passed.
expired() { [ -n "${deadline:-}" ] && [ "$(now)" -ge "$deadline" ]; }

# random LIMIT: a number from 0 up to, not including, LIMIT (65536 at most).
random() { echo "$(($(od -An -N2 -tu2 /dev/urandom) % $1))"; }

# hold FILE TEXT: creates FILE exclusively, as an ephemeral that lives as long as descriptor 9, with TEXT. False when it is taken,
# or cannot be made. Afterwards $node is FILE, $session who owns it, and $token its fencing token.
hold() {
    [ ! -e "$1" ] || return 1 # spares a request; it is the create that decides
    set -C
    { command exec 9>"$1${at}h"; } 2>/dev/null
    held=$?
    set +C
    [ "$held" -eq 0 ] || return 1
    # The write goes to the file that we made or fails, so what was read before it is about that file.
    note_held "$1" && printf '%s\n' "$2" 2>/dev/null >&9 && return
    release
    return 1
}

# take_place DIR PREFIX TEXT: takes the next place in the line of the files DIR/PREFIX-NUMBER; as with hold.
take_place() {
    # A tag of its own for each place, since an earlier one may be on its way out.
    tag=$$.$(date +%s%N)
    { command exec 9>"$1/$2-${at}hs:$tag"; } 2>/dev/null || return 1
    printf '%s\n' "$3" 2>/dev/null >&9 && place=$(readlink -- "$1/$2-${at}hs:$tag") && note_held "$1/$place" && return
    release
    return 1
}

note_held() {
    node=$1
    read_stat "$node" || return 1
    session=$owner
    token=$czxid
}

# release: gives up what is held.
release() { command exec 9>&-; }

# await_front DIR PREFIX: waits until our place is the first of the line. Only the next one before us is watched, so that one who
# goes wakes one. False when our place is gone, or $deadline has passed.
await_front() {
    while :; do
        before='' found=''
        for file in "$1/$2-"*; do
            if [ "${file##*/}" = "$place" ]; then
                found=yes
                break
            fi
            before=$file
        done
        [ -n "$found" ] || return 1
        [ -n "$before" ] || return 0
        # The stream is there before we look, so that nothing is missed in between.
        if open_changes "$before" && read_stat "$before"; then
            wait_change '^(delete|resync|session)' || return 1
        else
            sleep 0.1 6>&- 9>&-
        fi
    done
}

# open_changes PATH: opens the stream of changes below a directory, or of a file. A server older than 3.6 announces none; then
# looking again after a second is what is left.
open_changes() {
    if [ -d "$1" ]; then events=$1/${at}events; else events=$1${at}events; fi
    { command exec 7<"$events"; } 2>/dev/null || exec 7</dev/null
}

# No wait is longer, so that a mistake anywhere costs time and nothing else.
ROUND=10000

# wait_change PATTERN: waits for a line of the stream that matches. True also when there was none for $ROUND ms; false
# after $deadline.
wait_change() {
    patience=$ROUND
    if [ -n "${deadline:-}" ]; then
        left=$((deadline - $(now)))
        [ "$left" -gt 0 ] || return 1
        [ "$left" -ge "$patience" ] || patience=$left
    fi
    timeout --foreground "$(seconds "$patience")" grep -q -m 1 -E "$1" <&7 6>&- 9>&-
    # A stream that has ended, with the mount say, must not make its reader spin.
    [ $? -ne 1 ] || sleep 1 6>&- 9>&-
    return 0
}

# guard COMMAND [ARGUMENT...]: runs a command for as long as $node is ours and exists, and passes its status on. $lost says that it
# was not, and that the command has been stopped.
#
# Another host may take over when the session has not been heard of for its timeout T, by the server's clock. The command is stopped
# before: it gets TERM when only T/2 is left, or when the daemon has said nothing for T/6 to T/3, and KILL another 2/15 T later.
# The command inherits descriptor 9: as long as any of its processes lives nobody else gets what it holds, even if we are killed.
guard() {
    lost=''
    if ! read_session || ! is_ours; then
        lost=yes
        return "$LOST"
    fi
    ZK_NODE=$node ZK_TOKEN=$token
    export ZK_NODE ZK_TOKEN
    # A shell starts background commands deaf to INT and QUIT and without an input.
    hearing=''
    if env --default-signal=INT,QUIT true 2>/dev/null; then hearing='env --default-signal=INT,QUIT'; fi
    { command exec 8<&0; } 2>/dev/null || exec 8</dev/null
    trap 'lost=yes' USR1
    for signal in INT TERM HUP QUIT; do
        # shellcheck disable=SC2064 # the signal of this round
        trap "signal_group $signal" "$signal"
    done
    # shellcheck disable=SC2086 # a command and its option
    setsid $hearing "$@" <&8 6>&- 7<&- 8<&- &
    group=$!
    exec 8<&-
    # Not "warden 9>&-": for the time of a function shells keep a copy of what they close.
    (exec 6>&- 7<&- 9>&- </dev/null >/dev/null; warden) &
    warden=$!
    # A trap ends the wait early.
    while :; do
        # Dash says how a job has ended.
        wait "$group" 2>/dev/null
        status=$?
        kill -s 0 "$group" 2>/dev/null || break
    done
    [ -z "$lost" ] || wait "$warden"
    trap - USR1 INT TERM HUP QUIT
    kill "$warden" 2>/dev/null
    [ -z "$lost" ] || return "$LOST"
    return "$status"
}

# To the command and all it has started, or to what is to become the command in a moment.
signal_group() { kill -s "$1" -- "-$group" 2>/dev/null || kill -s "$1" "$group" 2>/dev/null; }

group_lives() { kill -s 0 -- "-$group" 2>/dev/null || kill -s 0 "$group" 2>/dev/null; }

# Whether the session owns what we hold, and that for a while.
is_ours() { [ "$session_now" = "$session" ] && [ "$validity_ms" -gt "$((timeout_ms / 2))" ]; }

# Whether somebody has removed what we hold; where nobody can tell, not.
is_removed() {
    answer=$(LC_ALL=C timeout "$period" cat "$node${at}stat" 2>&1)
    case "$answer " in
        "czxid=$token"[[:space:]]*) return 1 ;;
        czxid=* | *'No such file'* | *'Stale file'*) return 0 ;;
        *) return 1 ;;
    esac
}

# Tells the warden once in a while that all is well, until it is not, and that at last.
heartbeats() {
    while read_session && is_ours; do
        kill -s USR1 "$1" 2>/dev/null || exit
        [ -z "$connected" ] || ! is_removed || break
        sleep "$period"
    done
    kill -s USR2 "$1" 2>/dev/null
}

# Stops the command when heartbeats say so or do not come. It never touches the mount itself: a daemon that stands still hangs
# whoever does.
warden() {
    heard=yes over=''
    trap 'heard=yes' USR1
    trap 'over=yes' USR2
    period=$(seconds $((timeout_ms / 30)))
    us=$(exec sh -c 'echo "$PPID"') # $$ is our parent
    heartbeats "$us" 2>/dev/null &
    while [ -n "$heard" ] && [ -z "$over" ]; do
        heard=''
        sleep "$(seconds $((timeout_ms / 6)))" 2>/dev/null &
        nap=$!
        # Each heartbeat ends the wait early.
        while [ -z "$over" ] && kill -s 0 "$nap" 2>/dev/null; do
            wait "$nap"
            # If we were killed and the command has ended, there is nothing left to do.
            group_lives || { kill "$nap"; exit; }
        done
    done
    kill "$nap" 2>/dev/null
    kill -s USR1 "$$" 2>/dev/null
    say "$node is lost; stopping the command"
    signal_group TERM
    waited=0
    while group_lives; do
        if [ "$waited" -ge $((timeout_ms * 2 / 15)) ]; then
            say "it does not end on TERM; killing it"
            signal_group KILL
            exit
        fi
        sleep 0.1
        waited=$((waited + 100))
    done
}
