#!/usr/bin/env bash
# Get a bare Debian or Ubuntu machine ready for pillion: Docker Engine, Compose v2, Python; start the engine where no init system does.
#
#   setup.sh          install and start what is missing (root is needed only then); silent when all is there
#   setup.sh --stop   stop the engine that this script started, and only that one
#
# Exit codes: 0 ready; 2 wrong arguments; 4 something is missing and cannot be had (said with its remedy).
set -euo pipefail

# Where dockerd lives, which is not on the PATH of everybody.
PATH=$PATH:/usr/sbin:/sbin
RUN_DIR=${XDG_RUNTIME_DIR:-/run}/pillion
PID_FILE=$RUN_DIR/dockerd.pid
LOG_FILE=$RUN_DIR/dockerd.log
START_LIMIT_S=60
STOP_LIMIT_S=30
# Debian 12 has Compose v1 alone; this package of the next release needs nothing that Debian 12 lacks.
COMPOSE_RELEASE=trixie
COMPOSE_PACKAGE=docker-compose
APT=(apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 4; }
is_root() { [ "$(id -u)" -eq 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

engine_answers() { docker info >/dev/null 2>&1; }
has_compose() { docker compose version >/dev/null 2>&1; }
# ensurepip is what Debian splits off into python3-venv.
has_python() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
runs_systemd() { [ -d /run/systemd/system ]; }

need_root() {
    is_root && return
    fail "$1; remedy: run 'sudo $0' once, or install it yourself"
}

need_apt() {
    has apt-get && return
    fail "$1, and this is no Debian or Ubuntu; remedy: install Docker Engine, Docker Compose v2 and Python 3.11 or newer yourself"
}

# Run a command quietly; its output is shown when it fails.
quietly() {
    local output
    output=$("$@" 2>&1) && return
    printf '%s\n' "$output" | tail -n 30 >&2
    return 1
}

LISTS_FRESH=
refresh_lists() {
    [ -z "$LISTS_FRESH" ] || return 0
    say "refreshing the package lists"
    # A foreign source that is down must not stop us: what is truly missing shows at the installation.
    quietly "${APT[@]}" update || true
    LISTS_FRESH=yes
}

# Version of a package that apt would install; nothing when it has none. (awk reads to the end: a pipe cut short is a failure here.)
candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

install() {
    local why=$1
    shift
    say "installing $* ($why)"
    DEBIAN_FRONTEND=noninteractive quietly "${APT[@]}" install --no-install-recommends "$@" ||
        fail "could not install $*; remedy: see apt's lines above"
}

ensure_python() {
    has_python && return
    need_apt "Python 3.11 or newer with venv is missing"
    need_root "Python 3.11 or newer with venv is missing (packages python3, python3-venv)"
    refresh_lists
    install "pillion's engine runs on it" python3 python3-venv
    has_python || fail "this release has only $(python3 --version 2>&1); remedy: Debian 12, Ubuntu 24.04 or newer, or put Python 3.11 on the PATH"
}

# An engine that was chosen by hand is not ours to start, nor to replace by another.
refuse_foreign_engine() {
    [ -z "${DOCKER_HOST:-}" ] || fail "nothing answers at DOCKER_HOST=$DOCKER_HOST; remedy: start it, or unset DOCKER_HOST"
}

ensure_engine_installed() {
    local packages=(docker.io iptables)
    has docker && has dockerd && return
    has docker && refuse_foreign_engine
    need_apt "no Docker Engine is installed"
    need_root "no Docker Engine is installed (package docker.io)"
    refresh_lists
    # Newer releases have the command in a package of its own.
    if ! has docker && [ -n "$(candidate docker-cli)" ]; then packages+=(docker-cli); fi
    install "the Docker Engine that runs the lab" "${packages[@]}"
}

# The trixie package, fetched with lists and sources of its own: this machine's apt configuration stays as it is.
install_compose_of_trixie() {
    local scratch archive isolated
    archive=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && !found++ { print $3 }')
    [ -n "$archive" ] || fail "no package of Docker Compose v2 in this machine's sources; remedy: install the plugin docker-compose v2"
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/pillion-setup.XXXXXX")
    # apt drops its rights for the download and could not write into a folder of root's alone.
    chmod 755 "$scratch"
    mkdir -p "$scratch"/{lists/partial,cache/archives/partial}
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$archive" "$COMPOSE_RELEASE" >"$scratch/sources.list"
    isolated=("${APT[@]}" -o "Dir::Etc::SourceList=$scratch/sources.list" -o Dir::Etc::SourceParts=- -o Dir::Etc::Preferences=-
        -o Dir::Etc::PreferencesParts=- -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache")
    say "installing $COMPOSE_PACKAGE of Debian $COMPOSE_RELEASE (the lab is a Compose v2 project; this release has only v1)"
    if ! { quietly "${isolated[@]}" update &&
        (cd "$scratch" && quietly "${isolated[@]}" -o APT::Sandbox::User=root download "$COMPOSE_PACKAGE") &&
        DEBIAN_FRONTEND=noninteractive quietly dpkg -i "$scratch/$COMPOSE_PACKAGE"_*.deb; }; then
        rm -rf "$scratch"
        fail "could not install Docker Compose v2; remedy: see apt's lines above"
    fi
    rm -rf "$scratch"
}

ensure_compose() {
    local package
    has_compose && return
    need_apt "Docker Compose v2 is missing"
    need_root "Docker Compose v2 is missing ('docker compose version' fails)"
    refresh_lists
    # Names of Ubuntu, of Docker's own archive, and of Debian from release 13 on.
    for package in docker-compose-v2 docker-compose-plugin docker-compose; do
        case $package:$(candidate "$package") in *: | docker-compose:1.*) continue ;; esac
        install "the lab is a Compose v2 project" "$package"
        has_compose && return
    done
    install_compose_of_trixie
    has_compose || fail "'docker compose version' still fails; remedy: install the plugin docker-compose v2 for $(command -v docker)"
}

# Not needed where a registry answers, so nobody is asked for root because of it: images.sh names it if it comes to that.
ensure_debootstrap() {
    has debootstrap && return
    has apt-get && is_root || return 0
    docker image inspect debian:trixie-slim >/dev/null 2>&1 && return
    refresh_lists
    install "makes the base image where no registry answers" debootstrap
}

# For the tests alone, which skip what needs it and say so: nobody is asked for root because of it, and nothing fails.
ensure_memcached() {
    has memcached && return
    has apt-get && is_root || return 0
    refresh_lists
    (install "tests of A3 start it" memcached) || return 0
    # The package starts a service of its own, which nobody asked for.
    ! runs_systemd || quietly systemctl disable --now memcached || say "remedy: systemctl disable --now memcached"
}

# The pid in the pid file, if that process is still the engine that we started.
own_engine_pid() {
    local pid
    pid=$(cat "$PID_FILE" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && printf '%s\n' "$pid"
}

start_by_hand() {
    local pid end
    say "starting dockerd, since no init system runs here (log: $LOG_FILE; '$0 --stop' ends it)"
    mkdir -p "$RUN_DIR"
    chmod 700 "$RUN_DIR"
    # Left by an engine that was killed; its number may be another process's by now, which would stop the new one.
    pid=$(cat /var/run/docker.pid 2>/dev/null || true)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != dockerd ]; then rm -f /var/run/docker.pid; fi
    # A session of its own, so that Ctrl-C in make does not reach it; none of our streams, so that no pipe waits for its end.
    setsid dockerd </dev/null >>"$LOG_FILE" 2>&1 &
    pid=$!
    printf '%s\n' "$pid" >"$PID_FILE"
    end=$((SECONDS + START_LIMIT_S))
    until engine_answers; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
            tail -n 15 "$LOG_FILE" >&2
            kill "$pid" 2>/dev/null || true
            rm -f "$PID_FILE"
            fail "dockerd does not start; remedy: see the last lines of $LOG_FILE above"
        fi
        sleep 0.1
    done
}

ensure_engine_runs() {
    engine_answers && return
    if [ -S /var/run/docker.sock ] && ! [ -w /var/run/docker.sock ]; then
        fail "a Docker Engine runs, but $(id -un) may not use it; remedy: sudo usermod -aG docker $(id -un), then log in again"
    fi
    refuse_foreign_engine
    need_root "the Docker Engine does not run"
    if runs_systemd; then
        say "starting the service docker"
        quietly systemctl start docker || fail "the service docker does not start; remedy: journalctl -u docker"
        engine_answers || fail "the service docker started but does not answer; remedy: docker info"
    else
        start_by_hand
    fi
}

stop() {
    local pid end
    if ! pid=$(own_engine_pid); then
        rm -f "$PID_FILE"
        say "no engine of ours runs"
        return
    fi
    say "stopping dockerd (pid $pid)"
    kill "$pid"
    end=$((SECONDS + STOP_LIMIT_S))
    while kill -0 "$pid" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || fail "dockerd (pid $pid) has not ended in $STOP_LIMIT_S s; remedy: see $LOG_FILE"
        sleep 0.1
    done
    rm -f "$PID_FILE"
}

case "$#:${1:-}" in
    0:)
        engine_answers || ensure_engine_installed
        ensure_engine_runs
        ensure_compose
        ensure_python
        ensure_debootstrap
        ensure_memcached
        ;;
    1:--stop) stop ;;
    *) printf 'usage: %s [--stop]\n' "$0" >&2; exit 2 ;;
esac
