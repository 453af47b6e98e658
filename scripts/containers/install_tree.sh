#!/usr/bin/env bash
# Collects the run-time files of a built millrace, for the last stage of an image (docs/containers.md):
#
#   scripts/containers/install_tree.sh FOLDER     FOLDER/root/: files, under the paths that they have here;
#                                                 FOLDER/packages: the Debian packages with the rest
#   scripts/containers/install_tree.sh --list     print the names of both, copy nothing
#
# Libraries are found where the program was linked to them, so paths do not change.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fail() {
  echo "install_tree: $1" >&2
  exit 2
}
[[ $# == 1 ]] || fail "expected a folder or --list, got $# arguments"
[[ -x $root/build/millrace ]] || fail "[$root/build/millrace] expected the built program (try scripts/build.sh)"

# Loaded at run time, unknown to the linker: the GPU half of libtorch, and the libraries that it loads in turn.
torch=$(ldd "$root/build/millrace" | sed -n 's|.* => \(/.*\)/libtorch_cpu.so .*|\1|p')
[[ -n $torch ]] || fail "[$root/build/millrace] expected a program that is linked to libtorch"
site_packages=${torch%/torch/lib}
programs=("$root/build/millrace")
for file in "$root/build/libmillrace_nccl.so" "$torch"/libtorch_{cuda,hip}.so; do
  if [[ -e $file ]]; then programs+=("$file"); fi
done

# The libraries of all of them, each once.
linked() {
  local file
  for file in "${programs[@]}"; do ldd "$file"; done | sed -n 's|.* => \(/[^ ]*\) .*|\1|p' | sort -u
}

files() {
  local file
  printf '%s\n' "${programs[@]}" "$root/LICENSE" "$root/configs" "$root/scripts"
  # Python's part of libtorch is left out.
  find -L "$torch" -maxdepth 1 -name '*.so*' ! -name 'libtorch_python.so' ! -name 'libshm*'
  find "$torch" -mindepth 1 -maxdepth 1 -type d ! -name 'libshm*' # ROCm's tables of kernels
  compgen -G "$site_packages/nvidia/*/lib" || true
  while read -r file; do
    if [[ $file == "$site_packages"/* && $file != "$torch"/* && $file != */nvidia/*/lib/* ]]; then echo "$file"; fi
  done < <(linked)
}

packages() {
  local file
  # Besides the libraries: certificates for downloads, and the files that `millrace prepare emoji` reads.
  {
    printf '%s\n' ca-certificates fonts-noto-color-emoji unicode-cldr-core
    while read -r file; do
      if [[ $file == "$site_packages"/* || $file == "$root"/* ]]; then continue; fi
      # A library below /lib belongs to a package that lists it below /usr/lib, or the other way round.
      { dpkg-query -S "$file" "/usr$file" "${file#/usr}" 2> /dev/null || true; } | head -n 1 | cut -d : -f 1
    done < <(linked)
  } | sort -u
}

if [[ $1 == --list ]]; then
  files
  packages | sed 's/^/package /'
  exit
fi

mkdir -p "$1/root/usr/local/bin"
files | sort -u | while read -r file; do
  mkdir -p "$1/root$(dirname "$file")"
  cp -a --no-dereference "$file" "$1/root$file"
  # For a symbolic link, its target is included too.
  if [[ -L $file && $(dirname "$(readlink -f "$file")") == $(dirname "$file") ]]; then cp -a "$(readlink -f "$file")" "$1/root$(dirname "$file")/"; fi
done
ln -sfn "$root/build/millrace" "$1/root/usr/local/bin/millrace"
packages > "$1/packages"
