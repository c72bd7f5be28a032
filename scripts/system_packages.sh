#!/bin/bash
# system_packages.sh demo|test: the programs and libraries that pip cannot bring.
#
# Installs what is missing with apt where this user may, without asking anything. Where they may not, says in
# one line which command to run; fails only when the goal cannot be reached without it.
set -euo pipefail

goal=${1:?usage: system_packages.sh demo|test}

have_command() { command -v "$1" >/dev/null 2>&1; }
have_library() {
    # ldconfig lies in sbin, which an ordinary user's path lacks. The output is kept, not piped: grep -q would
    # close the pipe early and fail the pipeline.
    local known
    known=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null || true)
    [[ $known == *"$1"* ]]
}

packages=()
lacking=()
need() { # need WHAT PACKAGE...: remember that WHAT is not here and which packages bring it
    lacking+=("$1")
    shift
    packages+=("$@")
}

look() {
    packages=()
    lacking=()
    # The demo's song lies in an MP4, which only ffmpeg reads.
    if ! have_command ffmpeg || ! have_command ffprobe; then need ffmpeg ffmpeg; fi
    if ! have_library libportaudio.so.2; then need libportaudio2 libportaudio2; fi
    if [[ $goal == test ]]; then
        # What the control page is tested in; Google's own build does as well.
        if ! have_command chromium && ! have_command chromium-browser && ! have_command google-chrome; then
            need chromium chromium
        fi
        # torch compiles parts of a network for training with it.
        if ! have_command g++; then need g++ g++; fi
        # PipeWire stands in for JACK on most desktops.
        if ! have_command pipewire || ! have_command pw-jack; then need pipewire pipewire pipewire-jack; fi
        if ! have_command jackd; then need jackd jackd2; fi
        if ! have_command jack_lsp || ! have_command jack_iodelay; then
            # Part of jackd2 up to Debian 12, a package of their own from 13 on.
            need "jack_lsp and jack_iodelay" jackd2
            if have_command apt-cache && [[ -n $(apt-cache search --names-only '^jack-example-tools$') ]]; then
                packages+=(jack-example-tools)
            fi
        fi
    fi
}

required() { # is any of what is lacking needed to reach the goal?
    local what
    for what in "${lacking[@]}"; do
        # Without a browser the page's tests in it are left out, and say so; PipeWire's likewise.
        [[ $what == chromium || $what == pipewire ]] && continue
        [[ $goal == test ]] && return 0
        # The demo plays into a driver of rtsep's own, so that PortAudio is only for `rtsep live`.
        [[ $what == libportaudio2 ]] || return 0
    done
    return 1
}

look
[[ ${#lacking[@]} -eq 0 ]] && exit 0

as_root=()
may_install=false
if have_command apt-get; then
    if [[ $(id -u) -eq 0 ]]; then
        may_install=true
    elif have_command sudo && sudo -n true 2>/dev/null; then
        may_install=true
        as_root=(sudo -n)
    fi
fi

if $may_install; then
    # jackd2 asks whether to grant real-time priority; the answer is its default, no.
    apt_get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    "${apt_get[@]}" update </dev/null || true
    look # the fresh lists may name a package that the old ones did not
    echo "Installing with apt: ${packages[*]}"
    "${apt_get[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null || true
    look
    [[ ${#lacking[@]} -eq 0 ]] && exit 0
fi

wanted=$(printf '%s\n' "${packages[@]}" | sort -u | tr '\n' ' ')
missing=$(printf '%s, ' "${lacking[@]}")
if required; then
    echo "rtsep: ${missing%, } missing; run this, then make again: sudo apt-get install ${wanted% }" >&2
    exit 1
fi
needs="'rtsep live' needs"
[[ $goal == test ]] && needs="some tests need"
echo "rtsep: ${missing%, } missing, which $needs: sudo apt-get install ${wanted% }" >&2
