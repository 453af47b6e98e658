#!/usr/bin/env bash
# Unpacks the C++ libraries of scripts/packages.txt into .deps/ without root: for clusters, and for copying to machines
# without a network. CMake looks there first. Needs curl, tar, xz, sha256sum and binutils, on any x86-64 Linux with
# glibc 2.36 or newer.
#
#   scripts/fetch_deps.sh [--force]
#
# DEBIAN_MIRROR=https://mirror.example/debian chooses another mirror. The compiler, CMake and Ninja, and a PyTorch 2.11.0
# wheel (in .venv, in the machine's python3, or named by -DMILLRACE_TORCH), must be there already. So must pyarrow for Arrow
# files (in .venv, .deps/pyarrow, python3, or -DMILLRACE_ARROW): its libarrow alone is 49 MB. A build without it refuses them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mirror=${DEBIAN_MIRROR:-https://deb.debian.org/debian}
release=bookworm
architecture=amd64
root=.deps/root

mapfile -t packages < <(sed -n 's/^[^#]* deps \([^#]*\).*/\1/p' scripts/packages.txt | tr ' ' '\n' | sed '/^$/d' | sort -u)
stamp=$(printf '%s\n' "$release" "${packages[@]}")
if [[ ${1:-} != --force && -e .deps/complete ]] && [[ $(< .deps/complete) == "$stamp" ]]; then
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Release holds the checksum of the index, and the index those of the packages.
echo "fetch_deps: reading the package index of $mirror"
index=main/binary-$architecture/Packages.xz
curl -fsSL --retry 3 -o "$work/Release" "$mirror/dists/$release/Release"
curl -fsSL --retry 3 -o "$work/Packages.xz" "$mirror/dists/$release/$index"
expected=$(awk -v index_file="$index" '/^SHA256:/ {on = 1; next} /^[^ ]/ {on = 0} on && $3 == index_file {print $1}' "$work/Release")
sha256sum --quiet -c <<< "$expected  $work/Packages.xz"
xz -dc "$work/Packages.xz" |
  awk '/^Package:/ {name = $2} /^Filename:/ {file = $2} /^SHA256:/ {print name, file, $2}' > "$work/index"

unpack() {
  if command -v dpkg-deb > /dev/null; then
    dpkg-deb -x "$1" "$2"
  else
    local member
    member=$(ar t "$1" | grep '^data\.tar')
    case $member in
      *.xz) ar p "$1" "$member" | tar -xJ -C "$2" ;;
      *.zst) ar p "$1" "$member" | tar --zstd -x -C "$2" ;;
      *) ar p "$1" "$member" | tar -xz -C "$2" ;;
    esac
  fi
}

rm -rf .deps/root .deps/complete
mkdir -p "$root"
for package in "${packages[@]}"; do
  read -r _ file sum < <(grep "^$package " "$work/index") || {
    echo "fetch_deps: expected the package $package in $mirror $release, got none" >&2
    exit 1
  }
  echo "fetch_deps: $package"
  curl -fsSL --retry 3 -o "$work/package.deb" "$mirror/$file"
  sha256sum --quiet -c <<< "$sum  $work/package.deb"
  unpack "$work/package.deb" "$root"
done

# Keep only files for the compiler and the linker.
usr=$root/usr
lib=$usr/lib/x86_64-linux-gnu
if [[ -d $root/lib ]]; then cp -a "$root/lib/." "$usr/lib/" && rm -rf "${root:?}/lib"; fi
find "$usr" -mindepth 1 -maxdepth 1 ! -name include ! -name lib ! -name share -exec rm -rf {} +
find "$usr/share" -mindepth 1 -maxdepth 1 ! -name cmake ! -name 'cmake-*' -exec rm -rf {} +
# Keep a shared library if its package was requested; otherwise the static one is used, which needs none of the
# libraries that a shared libarchive or libfreetype would pull in.
find "$usr" -type l \( -xtype l -o -lname '/*' \) -delete
for shared in "$lib"/*.so; do rm -f "${shared%.so}.a"; done
rm -f "$lib"/libpcre2-{16,32,posix}.a "$lib"/libsentencepiece_train*
# libarchive's table of formats names all of them; as weak references only those that we call (tar) are linked, so that
# zlib is all it needs: a shared libarchive would bring libxml2 and 31 MB of ICU.
member=archive_write_set_format.o
(cd "$work" && ar x "$OLDPWD/$lib/libarchive.a" $member && objcopy --wildcard --weaken-symbol='archive_write_set_format_*' $member)
ar r "$lib/libarchive.a" "$work/$member"
find "$lib" -name '*.a' -exec strip --strip-debug {} + 2> /dev/null || true
# Relocatable pkg-config files.
# shellcheck disable=SC2016
find "$usr" -name '*.pc' -exec sed -i 's|^prefix=.*|prefix=${pcfiledir}/../../..|; s|=/usr/|=${prefix}/|' {} +

echo "$stamp" > .deps/complete
echo "fetch_deps: $(du -sm .deps | cut -f1) MiB in .deps"
