#!/usr/bin/env bash
# Builds the image with buildah, without Docker and, unless BASE_IMAGE is given, without a registry: the base is then
# put together from Debian packages. Needs root on Debian or Ubuntu.
#
#   IMAGE          name of the result                            localhost/magnesium-cds:local
#   BASE_IMAGE     a base from your registry                     (put together here, anew if older than a day)
#   SUITE          the Debian of the base put together here      bookworm (12); trixie is 13
#   DEBIAN_MIRROR  your mirror for it                            (Debian's, with its security updates)
#   PIP_INDEX_URL  your package index                            (PyPI)
#   CA_FILE        authorities to trust during the build         /etc/ssl/certs/ca-certificates.crt
#   REVISION       of the source, for the label                  (git's)
#   SOURCE         address of the source, for the label          (none)
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-localhost/magnesium-cds:local}
suite=${SUITE:-bookworm}
own_base=localhost/magnesium-cds-base:$suite
ca=${CA_FILE:-/etc/ssl/certs/ca-certificates.crt}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=${REVISION:-$(git --no-optional-locks describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || true)}

say() { echo "[$(date +%T)] $*" >&2; }

install_tools() {
  local missing=() # catatonit: for a pod that podman plays; Debian only recommends it
  for tool in buildah podman runc mmdebstrap catatonit; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Missing: ${missing[*]}. Install them (Debian: apt-get install ${missing[*]})."
    exit 3
  fi
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" ca-certificates >/dev/null
}

# Whether our base is there, from this mirror and of today: an older one lacks Debian's newest security updates.
fresh_base() {
  local made
  made=$(podman image inspect --format '{{.Created.Unix}} {{index .Labels "mirror"}}' "$own_base" 2>/dev/null) || return 1
  [ "${made#* }" = "${DEBIAN_MIRROR:-}" ] && [ $(($(date +%s) - ${made%% *})) -lt 86400 ]
}

# Manuals and translations are left out; the licences (/usr/share/doc/*/copyright) stay.
make_base() {
  say "putting the base together from Debian $suite"
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" - ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
    | podman import -q --change "LABEL mirror=${DEBIAN_MIRROR:-}" - "$own_base" >/dev/null
}

build() {
  local base=$1 trust=()
  [ -r "$ca" ] && trust=(-v "$ca:/run/build-ca.crt:ro" --build-arg PIP_CERT=/run/build-ca.crt)
  say "building $image on $base"
  buildah bud --quiet --format docker --isolation chroot --timestamp 0 --pull-never "${trust[@]}" \
    --build-arg BASE_IMAGE="$base" --build-arg BASE_DIGEST="$(podman image inspect --format '{{.Digest}}' "$base")" \
    --build-arg PIP_INDEX_URL="${PIP_INDEX_URL:-}" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="${SOURCE:-}" \
    -t "$image" . >/dev/null
}

install_tools
say "building the documentation"
make -s site
if [ -n "${BASE_IMAGE:-}" ]; then
  [[ $BASE_IMAGE = localhost/* ]] || podman pull -q "$BASE_IMAGE" >/dev/null
else
  fresh_base || make_base
fi
build "${BASE_IMAGE:-$own_base}"
say "done"
podman image inspect --format '{{.Id}} {{.Size}}' "$image"
