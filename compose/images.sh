#!/usr/bin/env bash
# The container images of a lab, all of them FROM debian:trixie-slim.
#
#   images.sh CONTEXT PREFIX PACKAGE
#
#   CONTEXT  folder that holds compose/, gateway/ and apps/ (a clone, or the assets inside an installed package)
#   PREFIX   first part of the image names: "pillion" gives pillion/mec-host:latest and so on
#   PACKAGE  folder of the Python package pillion, parts of which go into PREFIX/tools
#
# An image is built only when its files or its parent changed: each carries the digest of both as the label pillion.context.
# Exit codes: 0 all images are there; 2 wrong arguments; 4 the machine lacks something (said with its remedy); 5 a build failed.
set -euo pipefail

BASE=debian:trixie-slim
PULL_LIMIT_S=120     # a slow line may need it for 30 MB; a name that does not resolve fails at once
DIGEST_LABEL=pillion.context

say() { printf 'images: %s\n' "$*"; }
fail() { local code=$1; shift; printf 'images: %s\n' "$*" >&2; exit "$code"; }

[ $# -eq 3 ] || fail 2 "usage: images.sh CONTEXT PREFIX PACKAGE"
[ -d "$1/compose" ] || fail 2 "$1 holds no compose/ folder"
[ -f "$3/__init__.py" ] || fail 2 "$3 is not the pillion package"
CONTEXT=$(cd "$1" && pwd)
PREFIX=$2
PACKAGE=$(cd "$3" && pwd)
# The classic builder is on every engine; BuildKit is a plugin of its own and absent from several distributions.
export DOCKER_BUILDKIT=0
BUILT=
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/pillion-images.XXXXXX")
trap 'rm -rf --one-file-system "$SCRATCH"' EXIT

docker info >/dev/null 2>&1 || fail 4 "no Docker Engine answers; remedy: run scripts/setup.sh, or start docker"

# Mirror of this machine's own Debian archive; nothing on other distributions, where debootstrap knows its default.
debian_mirror() {
    command -v apt-get >/dev/null || return 0
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && !found++ { print $3 }'
}

# debian:trixie-slim made from Debian's packages, for machines that reach no registry.
bootstrap_base() {
    local root=$SCRATCH/root mirror extra=
    [ "$(id -u)" -eq 0 ] || fail 4 "no registry answers and $BASE cannot be made without root; remedy: run this once as root"
    command -v debootstrap >/dev/null || fail 4 "no registry answers and debootstrap is missing; remedy: apt-get install debootstrap"
    mirror=$(debian_mirror)
    say "no registry answers: making $BASE from Debian's packages with debootstrap (about 40 s)"
    # As in the registry's image no certificates, unless its own packages come over https; aiohttp would read them at each import.
    case $mirror in https:*) extra=--include=ca-certificates ;; esac
    if ! debootstrap --variant=minbase ${extra:+"$extra"} trixie "$root" ${mirror:+"$mirror"} >"$SCRATCH/log" 2>&1; then
        tail -n 40 "$SCRATCH/log" >&2
        fail 5 "debootstrap failed; its last lines are above"
    fi
    # What makes the registry's image "slim": no manuals, no translations, now and for packages that are installed later.
    printf 'path-exclude %s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' \
        '/usr/share/lintian/*' >"$root/etc/dpkg/dpkg.cfg.d/slim"
    printf 'path-include /usr/share/doc/*/copyright\nforce-unsafe-io\n' >>"$root/etc/dpkg/dpkg.cfg.d/slim"
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/var/lib/apt/lists/* \
        "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/*.log "$root"/var/log/apt/*
    tar -C "$root" -c . | docker import --change 'LABEL pillion.base=debootstrap' --change 'CMD ["bash"]' - "$BASE" >/dev/null
    rm -rf --one-file-system "$root"
}

ensure_base() {
    docker image inspect "$BASE" >/dev/null 2>&1 && return
    say "fetching $BASE, the base of all images"
    timeout "$PULL_LIMIT_S" docker pull --quiet "$BASE" >/dev/null 2>"$SCRATCH/log" || bootstrap_base
    say "$BASE ready"
}

image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }
image_digest() { docker image inspect --format "{{index .Config.Labels \"$DIGEST_LABEL\"}}" "$1" 2>/dev/null || true; }

# build NAME PARENT FOLDER: PREFIX/NAME from FOLDER, where that is newer than the image.
build() {
    local name=$1 parent=$2 folder=$3 image=$PREFIX/$1:latest digest from=$SECONDS
    # Names and contents, not times: a fresh clone of the same commit builds nothing anew.
    digest=$({ image_id "$parent"; cd "$folder" && find . -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum; } | sha256sum | cut -d' ' -f1)
    [ "$(image_digest "$image")" = "$digest" ] && return
    say "building $image"
    tar -C "$folder" --exclude=__pycache__ --owner=0 --group=0 -c . |
        docker build --network host --force-rm --label "$DIGEST_LABEL=$digest" --label "pillion.image=$name" \
            --build-arg "PARENT=$parent" --tag "$image" - >"$SCRATCH/log" 2>&1 || {
        cat "$SCRATCH/log" >&2
        fail 5 "building $image failed; the whole output is above"
    }
    BUILT=yes
    say "$image ready ($((SECONDS - from)) s)"
}

# Only what runs inside the lab's containers: a change elsewhere in the package builds nothing anew.
tools_context() {
    local part
    mkdir -p "$SCRATCH/tools/pillion"
    cp "$CONTEXT/compose/tools/Dockerfile" "$SCRATCH/tools/"
    for part in __init__.py errors.py server.py core sandbox probe.py probe; do
        [ ! -e "$PACKAGE/$part" ] || cp -r "$PACKAGE/$part" "$SCRATCH/tools/pillion/"
    done
}

ensure_base
build python "$BASE" "$CONTEXT/compose/python"
build mec-host "$BASE" "$CONTEXT/compose/mec-host"
build gateway "$BASE" "$CONTEXT/gateway"
build user-plane "$BASE" "$CONTEXT/compose/user-plane"
tools_context
build tools "$PREFIX/python:latest" "$SCRATCH/tools"
build mec-app "$PREFIX/python:latest" "$CONTEXT/apps/common"
build a1 "$PREFIX/mec-app:latest" "$CONTEXT/apps/a1"
build a2 "$PREFIX/mec-app:latest" "$CONTEXT/apps/a2"
build a3 "$BASE" "$CONTEXT/apps/a3"
build a3-loader "$PREFIX/python:latest" "$CONTEXT/apps/a3-loader"
# What was replaced, ours alone; what a container still runs from stays.
if [ -n "$BUILT" ]; then docker image prune --force --filter label=pillion.image >/dev/null; fi
