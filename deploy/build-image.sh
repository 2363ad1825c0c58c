#!/usr/bin/env bash
# Builds the image with buildah, without Docker and, unless BASE_IMAGE is given, without a registry: the base is then
# put together from Debian packages. Needs root on Debian or Ubuntu.
#
#   IMAGE          name of the result                            localhost/magnesium-cds:local
#   BASE_IMAGE     a base from your registry                     (put together here)
#   DEBIAN_MIRROR  your mirror, for the base put together here   (Debian's, with its security updates)
#   PIP_INDEX_URL  your package index                            (PyPI)
#   CA_FILE        authorities to trust during the build         /etc/ssl/certs/ca-certificates.crt
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-localhost/magnesium-cds:local}
suite=bookworm
own_base=localhost/magnesium-cds-base:$suite
ca=${CA_FILE:-/etc/ssl/certs/ca-certificates.crt}

say() { echo "[$(date +%T)] $*" >&2; }

install_tools() {
  local missing=()
  for tool in buildah podman runc mmdebstrap; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Missing: ${missing[*]}. Install them (Debian: apt-get install ${missing[*]})."
    exit 3
  fi
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" ca-certificates >/dev/null
}

# Manuals and translations are left out; the licences (/usr/share/doc/*/copyright) stay.
make_base() {
  say "putting the base together from Debian $suite"
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" - ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} | podman import -q - "$own_base" >/dev/null
}

build() {
  local trust=()
  [ -r "$ca" ] && trust=(-v "$ca:/run/build-ca.crt:ro" --build-arg PIP_CERT=/run/build-ca.crt)
  say "building $image on $1"
  buildah bud --quiet --format docker --isolation chroot --timestamp 0 "${pull[@]}" "${trust[@]}" \
    --build-arg BASE_IMAGE="$1" --build-arg PIP_INDEX_URL="${PIP_INDEX_URL:-}" -t "$image" . >/dev/null
}

install_tools
if [ -n "${BASE_IMAGE:-}" ]; then
  pull=()
  build "$BASE_IMAGE"
else
  pull=(--pull-never)
  podman image exists "$own_base" || make_base
  build "$own_base"
fi
say "done"
podman image inspect --format '{{.Id}} {{.Size}}' "$image"
