#!/usr/bin/env bash
# Installs the named Debian packages that are missing: "venv" (Python's venv module) and "chromium".
set -euo pipefail

missing=()
for wanted in "$@"; do
    case "$wanted" in
        venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv) ;;
        chromium) command -v chromium >/dev/null || [ -x "${CHROMIUM:-}" ] || missing+=(chromium fonts-dejavu-core) ;;
        *) echo "install_system.sh: unknown name '$wanted' (known: venv, chromium)" >&2; exit 2 ;;
    esac
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]}, and there is no apt-get here. Install them by hand, then run make again" \
         "(a Chromium elsewhere is named with CHROMIUM=/path/to/chromium)." >&2
    exit 1
fi
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
